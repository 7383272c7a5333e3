package rendezvous

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/easyfind-usb/easyfind/internal/doctor"
	"github.com/easyfind-usb/easyfind/internal/loopbacktest"
	"github.com/easyfind-usb/easyfind/proto/api"
)

// pick returns the findings of checks whose name begins with check.
func pick(found []doctor.Finding, check string) (list []doctor.Finding) {
	for _, f := range found {
		if strings.HasPrefix(f.Check, check) {
			list = append(list, f)
		}
	}
	return list
}

// expect checks that there is a finding of a check with a verdict and a text.
func expect(t *testing.T, found []doctor.Finding, check string, v doctor.Verdict, says string) {
	t.Helper()
	for _, f := range pick(found, check) {
		if f.Verdict == v && strings.Contains(f.Detail+" → "+f.Do, says) {
			return
		}
	}
	var all bytes.Buffer
	doctor.Write(&all, found)
	t.Errorf("no finding of %q with verdict %s and text %q:\n%s", check, v, says, all.String())
}

// withPorts returns the configuration of a running instance, with the ports that the
// system chose for it.
func withPorts(i *instance, c Config) Config {
	c.Listen = i.address("the rendezvous is serving")
	c.STUNListen = i.logged("the rendezvous is serving", "stun_addr")
	c.MetricsListen = i.address("serving metrics")
	c.ClusterListen = i.address("accepting links from other instances")
	return c
}

func TestDoctorOfHealthyServer(t *testing.T) {
	c := local(t)
	c.DatabaseURL, c.ClusterListen, c.MetricsListen = postgres(t), "127.0.0.1:0", "127.0.0.1:0"
	i := start(t, c)
	i.log.Await(t, "this instance has its lease")
	c = withPorts(i, c)
	found := Doctor(t.Context(), c, "")
	if doctor.Failed(found) {
		var all bytes.Buffer
		doctor.Write(&all, found)
		t.Errorf("findings about a healthy server:\n%s", all.String())
	}
	for check, says := range map[string]string{
		"settings": "", "data directory": "", "database": "Postgres", "clock": "the database's",
		"instances": "accepts links", "port": "the server uses it",
		"address": "", "certificate": "pins", "HTTPS": "test 0.", "signalling": "ALPN easyfind/1",
		"STUN/UDP": "sees this machine at 127.0.0.1",
		"STUN/TCP": "", "TURN/UDP": "a packet went through", "TURN/TCP": "a packet went through",
		"TURN/TLS": "a packet went through",
	} {
		expect(t, found, check, doctor.OK, says)
	}
	expect(t, found, "from outside", doctor.Unknown, "easyfind doctor")
	expect(t, found, "public URL", doctor.Unknown, "only this machine can reach 127.0.0.1")
	if !strings.Contains(i.log.String(), "works on this machine only; set --public-url") {
		t.Error("the log does not say that others cannot reach it")
	}
	if strings.Contains(i.log.String(), `level=ERROR`) {
		t.Error("the doctor has caused an error in the server's log")
	}

	changed := c
	changed.MetricsListen = loopbacktest.Address().String()
	expect(t, Doctor(t.Context(), changed, ""), "port", doctor.Wrong, "free, although the server runs")
	i.stop()
	found = Doctor(t.Context(), c, "")
	expect(t, found, "address", doctor.Wrong, "start the server")
	expect(t, found, "port", doctor.Unknown, "the server does not run")
	expect(t, found, "instances", doctor.Unknown, "no instance is running")
	busy, err := net.Listen("tcp", c.Listen)
	if err != nil {
		t.Fatal(err)
	}
	defer busy.Close()
	expect(t, Doctor(t.Context(), c, ""), "port", doctor.Wrong, "another program has it")
}

func TestDoctorFindsProblems(t *testing.T) {
	c := local(t)
	c.DatabaseURL = "mysql://u:hunter2@h/d"
	expect(t, Doctor(t.Context(), c, ""), "settings", doctor.Wrong, "--database-url: want")
	c = local(t)
	expect(t, Doctor(t.Context(), c, ""), "database", doctor.Unknown, "the first start")
	expect(t, Doctor(t.Context(), c, ""), "server", doctor.Unknown, "start the server once")
	if err := os.WriteFile(filepath.Join(c.Data, "tls-key.pem"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	expect(t, Doctor(t.Context(), c, ""), "data directory", doctor.Wrong, "chmod 600")
	c.DatabaseURL = "postgres://u:hunter2@127.0.0.1:1/d"
	expect(t, Doctor(t.Context(), c, ""), "database", doctor.Wrong, "check that Postgres runs there")

	one, other := start(t, local(t)), start(t, local(t))
	_, values := follow(t, other.link)
	address, _, _ := strings.Cut(one.link, "#")
	expect(t, Doctor(t.Context(), local(t), address+"#pin="+values.Get("pin")), "certificate", doctor.Wrong,
		"not the one that the join link pins")
	expect(t, Doctor(t.Context(), local(t), address), "certificate", doctor.Wrong, "no known authority")
	expect(t, Doctor(t.Context(), local(t), one.link), "TURN", doctor.Unknown, "easyfind doctor")
	expect(t, Doctor(t.Context(), local(t), "https://127.0.0.1:1"), "address", doctor.Wrong, "cannot be reached")
	expect(t, Doctor(t.Context(), local(t), "nonsense"), "server", doctor.Unknown, "not a join link")
}

func TestDoctorFindsUnreachableInstance(t *testing.T) {
	url := postgres(t)
	var configs [2]Config
	for n := range configs {
		configs[n] = local(t)
		configs[n].DatabaseURL, configs[n].ClusterListen = url, "127.0.0.1:0"
	}
	configs[1].ClusterAddress = "127.0.0.1:1" // nothing listens there
	for _, c := range configs {
		i := start(t, c)
		i.log.Await(t, "this instance has its lease")
	}
	found := Doctor(t.Context(), configs[0], "")
	expect(t, found, "instances", doctor.OK, "accepts links")
	expect(t, found, "instances", doctor.Wrong, "--cluster-address")
}

func TestDoctorFindsBrokenRelay(t *testing.T) {
	c := local(t)
	c.RelayIP = "192.0.2.1" // an address for documentation (RFC 5737): no packet arrives
	i := start(t, c)
	link, err := api.ParseJoinLink(i.link)
	if err != nil {
		t.Fatal(err)
	}
	p := newPeer(t, i.link, 1)
	good := func(context.Context) (api.RelayCredentials, error) {
		var relay api.RelayCredentials
		status, answer := p.asks(http.MethodPost, api.PathRelay, nil)
		if status != http.StatusCreated {
			return relay, fmt.Errorf("%d: %s", status, answer)
		}
		return relay, json.Unmarshal(answer, &relay)
	}
	outside := doctor.Outside(t.Context(), doctor.Target{Link: link, Credentials: good})
	expect(t, outside, "TURN/TLS", doctor.Wrong, "relay-ip")
	expect(t, outside, "STUN/UDP", doctor.OK, "")
	inside := doctor.Outside(t.Context(), doctor.Target{Link: link, Credentials: good, Inside: true})
	expect(t, inside, "TURN/TLS", doctor.Unknown, "another network")
	wrong := func(context.Context) (api.RelayCredentials, error) {
		return api.RelayCredentials{Username: "1:x:y", Password: "z"}, nil
	}
	expect(t, doctor.Outside(t.Context(), doctor.Target{Link: link, Credentials: wrong}), "TURN/TCP", doctor.Wrong,
		"gives no relayed address")
}
