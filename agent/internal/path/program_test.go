package path_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/easyfind-usb/easyfind/agent/internal/path"
	"github.com/easyfind-usb/easyfind/internal/waittest"
	"github.com/easyfind-usb/easyfind/proto/call"
)

// roleVariable is the environment variable with which this test binary runs as a
// program: a server or a peer in a node of the lab. Programs read and write lines
// on standard input and output. They end when standard input ends.
const roleVariable = "EASYFIND_PATH_TEST_ROLE"

const (
	serverIP   = "198.51.100.10"
	serverPort = 3478
)

// role describes a program.
type role struct {
	Server      bool
	Controlling bool
	Servers     []path.Server
}

// line is a line that a peer writes and the test passes to the other peer.
type line struct {
	Description *call.Description `json:",omitempty"`
	Candidate   *call.Candidate   `json:",omitempty"`
	Done        *outcome          `json:",omitempty"`
}

type outcome struct {
	Kind    path.Kind
	NAT     call.NAT
	Took    time.Duration // from the beginning of the attempt
	Relayed bool
	Why     string
	Err     string
}

// runRole runs a program and returns its exit code.
func runRole(text string) int {
	var r role
	if err := json.Unmarshal([]byte(text), &r); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 2
	}
	if r.Server {
		s, _, err := serveRelay(serverIP, serverPort)
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		fmt.Println("ready")
		_, _ = io.Copy(io.Discard, os.Stdin)
		_ = s.Close()
		return 0
	}
	var out sync.Mutex
	report := func(l line) {
		out.Lock()
		defer out.Unlock()
		_ = json.NewEncoder(os.Stdout).Encode(l)
	}
	if o := peer(r, report); o.Err != "" {
		report(line{Done: &o})
	}
	return 0
}

// peer connects to the other peer, exchanges packets with it and reports its
// outcome. Then it waits for the end of standard input, so that the other peer can
// finish too.
func peer(r role, report func(line)) (o outcome) {
	fail := func(err error) outcome { o.Err = err.Error(); return o }
	u, err := net.ListenUDP("udp", nil)
	if err != nil {
		return fail(err)
	}
	s := newSocket(u)
	defer s.end()
	p, err := path.New(path.Config{Conn: s})
	if err != nil {
		return fail(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 2*waittest.Timeout)
	defer cancel()
	ran := make(chan error, 1)
	go func() { ran <- p.Run(ctx) }()
	defer func() { cancel(); <-ran }()
	if o.NAT, err = p.Probe(ctx, r.Servers); err != nil {
		return fail(err)
	}
	begin := time.Now()
	at, err := p.NewAttempt(path.AttemptConfig{
		Controlling: r.Controlling, Servers: r.Servers,
		OnLocal: func(c call.Candidate) { report(line{Candidate: &c}) },
	})
	if err != nil {
		return fail(err)
	}
	defer at.Close()
	local := at.Local()
	report(line{Description: &local})
	descriptions, over := make(chan call.Description, 1), make(chan struct{})
	go readLines(at, descriptions, over)
	var res path.Result
	select {
	case d := <-descriptions:
		res, err = at.Connect(ctx, d)
	case <-over:
		err = errors.New("the other peer ended")
	}
	o.Took = time.Since(begin)
	if err != nil {
		return fail(err)
	}
	o.Kind, o.Why, o.Relayed = res.Kind, res.Why, res.Relayed != nil
	go answer(s, res)
	if err := ping(s, res); err != nil {
		return fail(err)
	}
	report(line{Done: &o})
	<-over
	return o
}

// The peers exchange these packets like those of QUIC.
const request, response = "request", "response"

// responded receives a value for each response.
var responded = make(chan struct{}, 1)

func write(s *socket, r path.Result, text string) {
	if r.Relayed != nil {
		_, _ = r.Relayed.WriteTo([]byte(text), r.RemoteAddr)
		return
	}
	_, _ = s.WriteTo([]byte(text), r.Remote)
}

// answer sends a response to every request until the connection ends.
func answer(s *socket, r path.Result) {
	buf := make([]byte, 2048)
	for {
		var text string
		if r.Relayed == nil {
			text = string((<-s.data).b)
		} else {
			n, _, err := r.Relayed.ReadFrom(buf)
			if err != nil {
				return
			}
			text = string(buf[:n])
		}
		switch text {
		case request:
			write(s, r, response)
		case response:
			select {
			case responded <- struct{}{}:
			default:
			}
		}
	}
}

// ping sends requests until a response arrives.
func ping(s *socket, r path.Result) error {
	repeat := time.NewTicker(100 * time.Millisecond)
	defer repeat.Stop()
	timeout := time.NewTimer(waittest.Timeout)
	defer timeout.Stop()
	for {
		write(s, r, request)
		select {
		case <-responded:
			return nil
		case <-repeat.C:
		case <-timeout.C:
			return fmt.Errorf("the path of kind %q carries no packets", r.Kind)
		}
	}
}

// readLines passes the lines on standard input to the attempt.
func readLines(at *path.Attempt, descriptions chan<- call.Description, over chan<- struct{}) {
	defer close(over)
	in := bufio.NewScanner(os.Stdin)
	for in.Scan() {
		var l line
		if err := json.NewDecoder(strings.NewReader(in.Text())).Decode(&l); err != nil {
			fmt.Fprintln(os.Stderr, err)
			continue
		}
		switch {
		case l.Description != nil:
			descriptions <- *l.Description
		case l.Candidate != nil:
			if err := at.AddRemote(*l.Candidate); err != nil {
				fmt.Fprintln(os.Stderr, err)
			}
		}
	}
}
