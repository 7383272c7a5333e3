package demo_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/easyfind-usb/easyfind/agent/internal/demo"
)

// programs is where build has put the programs, for TestMain to remove.
var programs string

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, goleak.Cleanup(func(code int) {
		if programs != "" {
			os.RemoveAll(programs)
		}
		os.Exit(code)
	}))
}

// build builds the three programs, once.
var build = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "easyfind-programs-")
	if err != nil {
		return "", err
	}
	programs = dir
	cmd := exec.Command("go", "build", "-o", dir+string(filepath.Separator), "./agent/cmd/easyfind", "./agent/cmd/easyfind-demo", "./rendezvous/cmd/easyfind-rendezvous")
	cmd.Dir = filepath.Join("..", "..", "..")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", errors.New(err.Error() + "\n" + string(out))
	}
	return dir, nil
})

// built returns the directory of the programs, and gives the demo a directory
// for its own that must be empty in the end.
func built(t *testing.T) string {
	t.Helper()
	if testing.Short() {
		t.Skip("-short: the demo builds three programs and runs them")
	}
	dir, err := build()
	if err != nil {
		t.Fatal(err)
	}
	temp := t.TempDir()
	t.Setenv("TMPDIR", temp)
	t.Cleanup(func() {
		if left, err := os.ReadDir(temp); err != nil || len(left) > 0 {
			t.Errorf("the demo has left %v, %v", left, err)
		}
	})
	return dir
}

func TestEveryCheckHolds(t *testing.T) {
	var story bytes.Buffer
	d, err := demo.New(demo.Config{Programs: built(t), Out: &story})
	if err != nil {
		t.Fatal(err)
	}
	found, err := d.Run(t.Context())
	if err != nil {
		t.Fatalf("%v\n%s", err, story.String())
	}
	for _, c := range found.Checks {
		if !c.OK {
			t.Errorf("%s: %s", c.What, c.Detail)
		}
	}
	if !found.OK || found.Path.Rank != "direct" || found.Disk.Bytes != 64<<20 || len(found.Disk.Partitions) != 2 || found.Path.RTTMillis <= 0 {
		t.Errorf("findings: %+v", found)
	}
	for _, said := range []string{
		string(found.Pairing.Address), found.Path.Why, found.Disk.SHA256, found.Keyboard.Typed, "reading: 32 MiB of 64 MiB", "63488", "MB/s", "round trip",
	} {
		if !strings.Contains(story.String(), said) {
			t.Errorf("the story lacks %q", said)
		}
	}
	if strings.Contains(story.String(), "\x1b") {
		t.Error("the story plays with a terminal that is none")
	}
}

// The program writes nothing but one document where that is wanted, whatever a
// person has set for the real agent.
func TestProgramWritesOneDocument(t *testing.T) {
	cmd := exec.Command(filepath.Join(built(t), "easyfind-demo"), "--json")
	cmd.Env = append(os.Environ(), "EASYFIND_TLS_LISTEN=nowhere", "EASYFIND_RENDEZVOUS=nowhere", "EASYFIND_BUDGET=never")
	var story bytes.Buffer
	cmd.Stderr = &story
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v\n%s", err, story.String())
	}
	var found demo.Findings
	read := json.NewDecoder(bytes.NewReader(out))
	read.DisallowUnknownFields()
	if err := read.Decode(&found); err != nil || read.More() || !found.OK {
		t.Errorf("%v in %s", err, out)
	}
}

func TestFailureIsToldWithTheLogs(t *testing.T) {
	real, broken := built(t), t.TempDir()
	for _, name := range []string{"easyfind-demo", "easyfind-rendezvous"} {
		if err := os.Symlink(filepath.Join(real, name), filepath.Join(broken, name)); err != nil {
			t.Fatal(err)
		}
	}
	script := "#!/bin/sh\necho the agent has a headache\nexit 3\n"
	if err := os.WriteFile(filepath.Join(broken, "easyfind"), []byte(script), 0o700); err != nil {
		t.Fatal(err)
	}
	var story bytes.Buffer
	d, err := demo.New(demo.Config{Programs: broken, Out: &story})
	if err != nil {
		t.Fatal(err)
	}
	found, err := d.Run(t.Context())
	if err == nil || found.OK || !strings.Contains(found.Problem, "exit status 3") {
		t.Errorf("%v: %+v", err, found)
	}
	for _, said := range []string{"FAILED: step 2", "the agent has a headache", "The last lines of the rendezvous's log"} {
		if !strings.Contains(story.String(), said) {
			t.Errorf("the story lacks %q:\n%s", said, story.String())
		}
	}
}

func TestProgramsMustBeThere(t *testing.T) {
	_, err := demo.New(demo.Config{Programs: t.TempDir(), Out: &bytes.Buffer{}})
	if err == nil || !strings.Contains(err.Error(), "make build") {
		t.Errorf("%v, want what to do", err)
	}
}

// lines passes on what is written.
type lines chan string

func (l lines) Write(b []byte) (int, error) {
	l <- string(b)
	return len(b), nil
}

// Whoever presses Ctrl-C finds no process and no file left.
func TestInterruptedProgramCleansUp(t *testing.T) {
	cmd := exec.Command(filepath.Join(built(t), "easyfind-demo"))
	said := make(lines)
	cmd.Stdout, cmd.Stderr = said, said
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	patience := time.NewTimer(time.Minute)
	defer patience.Stop()
	var story strings.Builder
	interrupted := false
	for {
		select {
		case s := <-said:
			story.WriteString(s)
			if !interrupted && strings.Contains(story.String(), "3. ") {
				interrupted = true
				if err := cmd.Process.Signal(syscall.SIGINT); err != nil {
					t.Fatal(err)
				}
			}
			continue
		case err := <-ended:
			var exit *exec.ExitError
			if !errors.As(err, &exit) || exit.ExitCode() != 1 || !strings.Contains(story.String(), "Interrupted.") {
				t.Errorf("%v\n%s", err, story.String())
			}
		case <-patience.C:
			t.Error("the demo does not end")
			cmd.Process.Kill()
			<-ended
		}
		return
	}
}
