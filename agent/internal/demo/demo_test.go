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

// programs is the directory of the built programs. TestMain removes it.
var programs string

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, goleak.Cleanup(func(code int) {
		if programs != "" {
			os.RemoveAll(programs)
		}
		os.Exit(code)
	}))
}

// limit is the time limit of a demo on a loaded machine.
const limit = 5 * time.Minute

// build builds the three programs, once.
var build = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "easyfind-programs-")
	if err != nil {
		return "", err
	}
	programs = dir
	cmd := exec.Command("go", "build", "-o", dir+string(filepath.Separator),
		"./agent/cmd/easyfind", "./agent/cmd/easyfind-demo", "./rendezvous/cmd/easyfind-rendezvous")
	cmd.Dir = filepath.Join("..", "..", "..")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", errors.New(err.Error() + "\n" + string(out))
	}
	return dir, nil
})

// built returns the directory of the programs. It also sets a new directory for
// temporary files, which must be empty at the end of the test.
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
			t.Errorf("the demo did not remove %v, %v", left, err)
		}
	})
	return dir
}

func TestDemoPasses(t *testing.T) {
	var story bytes.Buffer
	d, err := demo.New(demo.Config{Programs: built(t), Out: &story, Limit: limit})
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
	if !found.OK || found.Path.Rank != "direct" || found.Disk.Bytes != 64<<20 ||
		len(found.Disk.Partitions) != 2 || found.Path.RTTMillis <= 0 {
		t.Errorf("findings: %+v", found)
	}
	for _, want := range []string{
		string(found.Pairing.Address), found.Path.Why, found.Disk.SHA256, found.Keyboard.Typed,
		"reading: 32 MiB of 64 MiB", "63488", "MB/s", "round trip",
	} {
		if !strings.Contains(story.String(), want) {
			t.Errorf("the output lacks %q", want)
		}
	}
	if strings.Contains(story.String(), "\x1b") {
		t.Error("the output contains control sequences although it is not a terminal")
	}
}

// TestProgramWritesOneDocument runs the program with --json. The settings of the real
// agent in the environment must not affect it.
func TestProgramWritesOneDocument(t *testing.T) {
	cmd := exec.Command(filepath.Join(built(t), "easyfind-demo"), "--json", "--limit="+limit.String())
	cmd.Env = append(os.Environ(),
		"EASYFIND_TLS_LISTEN=nowhere", "EASYFIND_RENDEZVOUS=nowhere", "EASYFIND_BUDGET=never")
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

func TestFailureShowsLogs(t *testing.T) {
	real, broken := built(t), t.TempDir()
	for _, name := range []string{"easyfind-demo", "easyfind-rendezvous"} {
		if err := os.Symlink(filepath.Join(real, name), filepath.Join(broken, name)); err != nil {
			t.Fatal(err)
		}
	}
	script := "#!/bin/sh\necho the agent is broken\nexit 3\n"
	if err := os.WriteFile(filepath.Join(broken, "easyfind"), []byte(script), 0o700); err != nil {
		t.Fatal(err)
	}
	var story bytes.Buffer
	d, err := demo.New(demo.Config{Programs: broken, Out: &story, Limit: limit})
	if err != nil {
		t.Fatal(err)
	}
	found, err := d.Run(t.Context())
	if err == nil || found.OK || !strings.Contains(found.Problem, "exit status 3") {
		t.Errorf("%v: %+v", err, found)
	}
	for _, want := range []string{"FAILED: step 2", "the agent is broken", "The last lines of the rendezvous's log"} {
		if !strings.Contains(story.String(), want) {
			t.Errorf("the output lacks %q:\n%s", want, story.String())
		}
	}
}

func TestMissingProgramsError(t *testing.T) {
	_, err := demo.New(demo.Config{Programs: t.TempDir(), Out: &bytes.Buffer{}})
	if err == nil || !strings.Contains(err.Error(), "make build") {
		t.Errorf("%v, want advice", err)
	}
}

// outputChan sends everything that is written.
type outputChan chan string

func (l outputChan) Write(b []byte) (int, error) {
	l <- string(b)
	return len(b), nil
}

// TestInterruptedProgramCleansUp checks that no process and no file is left after
// Ctrl-C.
func TestInterruptedProgramCleansUp(t *testing.T) {
	cmd := exec.Command(filepath.Join(built(t), "easyfind-demo"), "--limit="+limit.String())
	output := make(outputChan)
	cmd.Stdout, cmd.Stderr = output, output
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	timeout := time.NewTimer(limit)
	defer timeout.Stop()
	var story strings.Builder
	interrupted := false
	for {
		select {
		case s := <-output:
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
		case <-timeout.C:
			t.Error("the demo did not end after the interrupt")
			cmd.Process.Kill()
			<-ended
		}
		return
	}
}
