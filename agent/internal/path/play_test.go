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

	"github.com/easyfind-usb/easyfind/proto/call"
)

// roleVariable makes this test binary a program: a server or a peer in a node
// of the lab. Programs talk in lines on standard input and output, and end with
// standard input.
const roleVariable = "EASYFIND_PATH_TEST_ROLE"

const (
	serverIP   = "198.51.100.10"
	serverPort = 3478
)

// role is what a program is told to be.
type role struct {
	Server      bool
	Controlling bool
	Servers     []path.Server
}

// line is what a peer says and hears; the test passes it on to the other one.
type line struct {
	Description *call.Description `json:",omitempty"`
	Candidate   *call.Candidate   `json:",omitempty"`
	Done        *outcome          `json:",omitempty"`
}

type outcome struct {
	Kind    path.Kind
	NAT     call.NAT
	Took    time.Duration // from the start of the Attempt
	Relayed bool
	Why     string
	Err     string
}

func play(text string) int {
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
	say := func(l line) {
		out.Lock()
		defer out.Unlock()
		_ = json.NewEncoder(os.Stdout).Encode(l)
	}
	if o := peer(r, say); o.Err != "" {
		say(line{Done: &o})
	}
	return 0
}

// peer connects to the other peer, exchanges packets with it and says so. Then it lingers
// until standard input ends, so that the other one can finish.
func peer(r role, say func(line)) (o outcome) {
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
	ctx, cancel := context.WithTimeout(context.Background(), 25*time.Second)
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
		OnLocal: func(c call.Candidate) { say(line{Candidate: &c}) },
	})
	if err != nil {
		return fail(err)
	}
	defer at.Close()
	local := at.Local()
	say(line{Description: &local})
	heard, over := make(chan call.Description, 1), make(chan struct{})
	go listenToPeer(at, heard, over)
	var res path.Result
	select {
	case d := <-heard:
		res, err = at.Connect(ctx, d)
	case <-over:
		err = errors.New("the other peer has gone")
	}
	o.Took = time.Since(begin)
	if err != nil {
		return fail(err)
	}
	o.Kind, o.Why, o.Relayed = res.Kind, res.Why, res.Relayed != nil
	go answer(s, res)
	if err := greet(s, res); err != nil {
		return fail(err)
	}
	say(line{Done: &o})
	<-over
	return o
}

// greetings are exchanged as QUIC's packets would be.
const hello, welcome = "hello", "welcome"

var greeted = make(chan struct{}, 1)

func write(s *socket, r path.Result, text string) {
	if r.Relayed != nil {
		_, _ = r.Relayed.WriteTo([]byte(text), r.RemoteAddr)
		return
	}
	_, _ = s.WriteTo([]byte(text), r.Remote)
}

// answer says welcome to every hello, until the socket or the relayed conn ends.
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
		case hello:
			write(s, r, welcome)
		case welcome:
			select {
			case greeted <- struct{}{}:
			default:
			}
		}
	}
}

// greet says hello until it is welcomed.
func greet(s *socket, r path.Result) error {
	again := time.NewTicker(100 * time.Millisecond)
	defer again.Stop()
	patience := time.NewTimer(5 * time.Second)
	defer patience.Stop()
	for {
		write(s, r, hello)
		select {
		case <-greeted:
			return nil
		case <-again.C:
		case <-patience.C:
			return fmt.Errorf("a path of kind %q that carries nothing", r.Kind)
		}
	}
}

func listenToPeer(at *path.Attempt, heard chan<- call.Description, over chan<- struct{}) {
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
			heard <- *l.Description
		case l.Candidate != nil:
			if err := at.AddRemote(*l.Candidate); err != nil {
				fmt.Fprintln(os.Stderr, err)
			}
		}
	}
}
