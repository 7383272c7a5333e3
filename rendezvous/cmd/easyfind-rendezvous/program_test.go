package main

import (
	"bytes"
	"context"
	"io"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"github.com/easyfind-usb/easyfind/internal/settings/settingstest"
	"github.com/easyfind-usb/easyfind/rendezvous"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestEverySettingCanBeFlagKeyAndVariable(t *testing.T) {
	settingstest.Run(t, func() any { return &commands{} }, options())
}

// run runs a command line and returns its exit code and output.
func run(ctx context.Context, args ...string) (code int, out, errs string) {
	var stdout, stderr bytes.Buffer
	p := &program{ctx: ctx, in: strings.NewReader(""), out: &stdout, err: &stderr}
	code = p.run(args)
	return code, stdout.String(), stderr.String()
}

// serving runs the server with a data directory until stop is called or the test
// ends. It returns when the server serves.
func serving(t *testing.T, data string, args ...string) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	ready, output := io.Pipe()
	var stderr bytes.Buffer
	p := &program{ctx: ctx, in: strings.NewReader(""), out: output, err: &stderr}
	done := make(chan int, 1)
	go func() {
		done <- p.run(append([]string{"--data", data, "--listen", "127.0.0.1:0", "--stun-listen", "127.0.0.1:0"},
			args...))
		output.Close()
	}()
	first := make([]byte, 1)
	if _, err := ready.Read(first); err != nil {
		cancel()
		t.Fatalf("the server ended: %d: %s", <-done, stderr.String())
	}
	drained := make(chan struct{})
	go func() {
		io.Copy(io.Discard, ready)
		close(drained)
	}()
	stopped := false
	stop = func() {
		if stopped {
			return
		}
		stopped = true
		cancel()
		if code := <-done; code != 0 {
			t.Errorf("exit code %d: %s", code, stderr.String())
		}
		<-drained
	}
	t.Cleanup(stop)
	return stop
}

// TestServerPrintsWhoCanJoin: an operator who opens the server to everybody sees that.
func TestServerPrintsWhoCanJoin(t *testing.T) {
	for open, want := range map[bool]string{
		false: "Anybody who has this link can join",
		true:  "anybody who can reach it can join",
	} {
		ctx, cancel := context.WithCancel(t.Context())
		ready, output := io.Pipe()
		p := &program{ctx: ctx, in: strings.NewReader(""), out: output, err: io.Discard}
		args := []string{"--data", t.TempDir(), "--listen", "127.0.0.1:0", "--stun-listen", "127.0.0.1:0"}
		if open {
			args = append(args, "--open")
		}
		done := make(chan int, 1)
		go func() {
			done <- p.run(args)
			output.Close()
		}()
		text := make([]byte, 4096)
		n, err := ready.Read(text) // the first write is the text with the join link
		if err != nil || !strings.Contains(string(text[:n]), want) {
			t.Errorf("open %v: %s, %v", open, text[:n], err)
		}
		cancel()
		if _, err := io.Copy(io.Discard, ready); err != nil {
			t.Error(err)
		}
		if code := <-done; code != 0 {
			t.Errorf("exit code %d", code)
		}
	}
}

func TestLinkCommands(t *testing.T) {
	data := filepath.Join(t.TempDir(), "data")
	if code, _, errs := run(t.Context(), "join-link", "--data", data); code != 1 ||
		!strings.Contains(errs, "start the server once") {
		t.Errorf("before the first start: %d, %s", code, errs)
	}
	if code, _, errs := run(t.Context(), "admin-link", "--data", data); code != 1 ||
		!strings.Contains(errs, "start the server once") {
		t.Errorf("before the first start: %d, %s", code, errs)
	}
	stop := serving(t, data)
	links := map[string]bool{rendezvous.KeptAdminLink(data): true}
	for range 2 {
		code, join, errs := run(t.Context(), "--data", data, "join-link")
		if kept, err := rendezvous.KeptJoinLink(data); code != 0 || err != nil || strings.TrimSpace(join) != kept {
			t.Fatalf("join-link: %d, %q, %s", code, join, errs)
		}
		code, admin, errs := run(t.Context(), "admin-link", "--data", data)
		admin = strings.TrimSpace(admin)
		if code != 0 || links[admin] || admin != rendezvous.KeptAdminLink(data) {
			t.Errorf("admin-link: %d, %q, %s", code, admin, errs)
		}
		links[admin] = true
		j, a := parse(t, join), parse(t, admin)
		if j.Host != a.Host || a.Path != "/admin" || fragment(t, j).Get("pin") != fragment(t, a).Get("pin") ||
			fragment(t, a).Get("link") == "" {
			t.Errorf("%s does not belong to %s", admin, join)
		}
		stop()
	}
}

func TestBackupAndRestoreCommands(t *testing.T) {
	data, file := filepath.Join(t.TempDir(), "data"), filepath.Join(t.TempDir(), "rendezvous.bak")
	if code, _, errs := run(t.Context(), "backup", file, "--data", data); code != 1 ||
		!strings.Contains(errs, "start the server once") {
		t.Errorf("backup before the first start: %d, %s", code, errs)
	}
	stop := serving(t, data)
	link, err := rendezvous.KeptJoinLink(data)
	if err != nil {
		t.Fatal(err)
	}
	for range 2 { // the second replaces the first
		if code, _, errs := run(t.Context(), "--data", data, "backup", file); code != 0 {
			t.Fatalf("backup: %d, %s", code, errs)
		}
	}
	files, err := filepath.Glob(filepath.Join(filepath.Dir(file), "*"))
	info, errStat := os.Stat(file)
	if err != nil || errStat != nil || len(files) != 1 || info.Mode().Perm() != 0o600 {
		t.Errorf("files %q, mode %v, %v, %v", files, info.Mode(), err, errStat)
	}
	code, stream, errs := run(t.Context(), "--data", data, "backup", "-")
	if code != 0 || !strings.HasPrefix(stream, "\x1f\x8b") {
		t.Errorf("backup to the standard output: %d, %s", code, errs)
	}
	if code, _, errs := run(t.Context(), "restore", file, "--force", "--data", data); code != 1 ||
		!strings.Contains(errs, "stop it") {
		t.Errorf("restore while the server runs: %d, %s", code, errs)
	}
	stop()
	other := filepath.Join(t.TempDir(), "other")
	if code, out, errs := run(t.Context(), "restore", file, "--data", other); code != 0 ||
		!strings.Contains(out, "Now start the server") {
		t.Errorf("restore: %d, %s, %s", code, out, errs)
	}
	if restored, err := rendezvous.KeptJoinLink(other); err != nil || restored != link {
		t.Errorf("the join link is %q, %v", restored, err)
	}
	var out, problems bytes.Buffer
	p := &program{ctx: t.Context(), in: strings.NewReader(stream), out: &out, err: &problems}
	if code := p.run([]string{"restore", "-", "--data", filepath.Join(t.TempDir(), "third")}); code != 0 {
		t.Errorf("restore from the standard input: %d, %s", code, problems.String())
	}
}

// dataDir returns a data directory with a join link.
func dataDir(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, rendezvous.JoinLinkFile), []byte("https://127.0.0.1:1/#pin=x"),
		0o600); err != nil {
		t.Fatal(err)
	}
	return dir
}

func parse(t *testing.T, link string) *url.URL {
	t.Helper()
	u, err := url.Parse(strings.TrimSpace(link))
	if err != nil {
		t.Fatal(err)
	}
	return u
}

func fragment(t *testing.T, u *url.URL) url.Values {
	t.Helper()
	v, err := url.ParseQuery(u.Fragment)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func TestHelpAndWrongUsage(t *testing.T) {
	code, out, _ := run(t.Context(), "--help")
	if code != 0 || !strings.Contains(out, "join-link") || !strings.Contains(out, "--public-url") {
		t.Errorf("help: %d, %s", code, out)
	}
	for _, args := range [][]string{{"nonsense"}, {"--nonsense"}, {"join-link", "more"}, {"--log-format", "xml"}} {
		if code, _, errs := run(t.Context(), args...); code != exitUsage || !strings.Contains(errs, "--help") {
			t.Errorf("%q: %d, %s", args, code, errs)
		}
	}
	file := filepath.Join(t.TempDir(), "rendezvous.yaml")
	if err := os.WriteFile(file, []byte("database-url: mysql://u:hunter2@h/d\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	code, _, errs := run(t.Context(), "--config", file, "--data", t.TempDir())
	if code != 1 || !strings.Contains(errs, "--database-url: want") || strings.Contains(errs, "hunter2") {
		t.Errorf("a wrong setting: %d, %s", code, errs)
	}
	for _, command := range []string{"serve", "backup=-", "restore=" + file, "admin-link"} {
		args := append(strings.Split(command, "="), "--database-url", "postgres://u:hunter2@127.0.0.1:1/d",
			"--data", dataDir(t), "--listen", "127.0.0.1:0", "--stun-listen", "127.0.0.1:0")
		code, _, errs = run(t.Context(), args...)
		explained := strings.Contains(errs, "check that Postgres runs there")
		if code != 1 || strings.Contains(errs, "hunter2") || command != "restore="+file && !explained {
			t.Errorf("%s without a database: %d, %s", command, code, errs)
		}
	}
}
