// Package webtest drives a real Chromium over the DevTools protocol. Tests use pages as a
// person does, and check what a person would see.
package webtest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/dom"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/input"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/page"
	cdpruntime "github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
)

// timeout bounds the time until a page is in the state that a test expects.
const timeout = 40 * time.Second

// programs are the names of Chromium's executable.
var programs = []string{"chromium", "chromium-browser", "google-chrome"}

// Browser is one browser window. Errors in its pages fail the test at its end, unless they
// were allowed: errors of scripts, messages of the level error, and violations of the content
// security policy.
type Browser struct {
	t   *testing.T
	ctx context.Context

	mu      sync.Mutex
	errors  []string // guarded by mu
	allowed []string // guarded by mu
}

// Open starts a new Chromium. pin is the SHA-256 of a certificate's public key in base64;
// the browser trusts this certificate in addition to the usual ones. If Chromium is not
// installed, the test is skipped, or fails if mustRun is set.
func Open(t *testing.T, pin string, mustRun bool) *Browser {
	t.Helper()
	program := ""
	for _, name := range programs {
		if found, err := exec.LookPath(name); err == nil {
			program = found
			break
		}
	}
	switch {
	case program == "" && mustRun:
		t.Fatalf("none of %s is installed", strings.Join(programs, ", "))
	case program == "":
		t.Skipf("none of %s is installed: install Chromium to run this test", strings.Join(programs, ", "))
	}
	options := []chromedp.ExecAllocatorOption{
		chromedp.ExecPath(program), chromedp.NoSandbox, chromedp.Headless, chromedp.DisableGPU, chromedp.NoFirstRun,
		chromedp.UserDataDir(t.TempDir()), chromedp.WSURLReadTimeout(timeout), chromedp.Flag("lang", "en-GB"),
		chromedp.Flag("ignore-certificate-errors-spki-list", pin), chromedp.Env("TZ=UTC", "LANG=en_GB.UTF-8"),
	}
	for _, flag := range []string{
		"disable-quic", "disable-background-networking", "disable-dev-shm-usage", "disable-component-update",
		"disable-sync",
		"hide-scrollbars",
	} {
		options = append(options, chromedp.Flag(flag, true))
	}
	allocated, cancel := chromedp.NewExecAllocator(context.Background(), options...)
	ctx, closeWindow := chromedp.NewContext(allocated, chromedp.WithErrorf(func(string, ...any) {}))
	b := &Browser{t: t, ctx: ctx}
	t.Cleanup(func() {
		if err := chromedp.Cancel(ctx); err != nil && !errors.Is(err, context.Canceled) {
			t.Errorf("close the browser: %v", err)
		}
		closeWindow()
		cancel()
		chromedp.FromContext(ctx).Allocator.Wait()
		b.report()
	})
	chromedp.ListenTarget(ctx, b.record)
	if err := chromedp.Run(ctx, log.Enable(), cdpruntime.Enable()); err != nil {
		t.Fatalf("start %s: %v", program, err)
	}
	b.Size(1280, 900)
	return b
}

// record stores the errors of pages.
func (b *Browser) record(event any) {
	text := ""
	switch e := event.(type) {
	case *log.EventEntryAdded:
		if e.Entry.Level == log.LevelError || e.Entry.Source == log.SourceSecurity ||
			e.Entry.Source == log.SourceViolation {
			text = fmt.Sprintf("%s: %s (%s)", e.Entry.Source, e.Entry.Text, e.Entry.URL)
		}
	case *cdpruntime.EventExceptionThrown:
		text = "script: " + e.ExceptionDetails.Error()
	case *cdpruntime.EventConsoleAPICalled:
		if e.Type == cdpruntime.APITypeError || e.Type == cdpruntime.APITypeAssert {
			text = fmt.Sprintf("console: %s", e.Args[0].Value)
		}
	}
	if text != "" {
		b.mu.Lock()
		defer b.mu.Unlock()
		b.errors = append(b.errors, text)
	}
}

// Allow ignores errors that contain a text.
func (b *Browser) Allow(text string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.allowed = append(b.allowed, text)
}

func (b *Browser) report() {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, e := range b.errors {
		if !slices.ContainsFunc(b.allowed, func(text string) bool { return strings.Contains(e, text) }) {
			b.t.Errorf("in the browser: %s", e)
		}
	}
}

// Do runs actions of the DevTools protocol. what describes them in the message of a failure.
func (b *Browser) Do(what string, actions ...chromedp.Action) {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, timeout)
	defer cancel()
	err := chromedp.Run(ctx, actions...)
	for err != nil && strings.Contains(err.Error(), lostNode) && ctx.Err() == nil {
		err = chromedp.Run(ctx, actions...)
	}
	if err != nil {
		b.t.Fatalf("%s: %v\n%s", what, err, b.Text("body"))
	}
}

// lostNode is the error of an element whose document was replaced after the element was
// found.
const lostNode = "Could not find node with given id"

// Go opens a URL.
func (b *Browser) Go(address string) {
	b.t.Helper()
	b.Do("open "+address, chromedp.ActionFunc(func(ctx context.Context) error {
		_, _, failed, _, err := page.Navigate(address).Do(ctx)
		if err == nil && failed != "" {
			err = errors.New(failed)
		}
		return err
	}))
	b.Until("the page is loaded", `document.readyState === "complete"`)
}

// Click waits for the first element that a CSS selector matches, and clicks it.
func (b *Browser) Click(selector string) {
	b.t.Helper()
	b.Do("click "+selector, chromedp.Click(selector, chromedp.ByQuery, chromedp.NodeVisible))
}

// Type types a text into a field.
func (b *Browser) Type(selector, text string) {
	b.t.Helper()
	b.Do("type into "+selector, chromedp.SendKeys(selector, text, chromedp.ByQuery, chromedp.NodeVisible))
}

// Eval evaluates an expression of JavaScript.
func Eval[T any](b *Browser, expression string) T {
	b.t.Helper()
	var out T
	b.Do("evaluate "+expression, chromedp.Evaluate(expression, &out))
	return out
}

// Text returns the visible text of the first element that a selector matches, or "".
func (b *Browser) Text(selector string) string {
	ctx, cancel := context.WithTimeout(b.ctx, timeout)
	defer cancel()
	var text string
	err := chromedp.Run(ctx,
		chromedp.Evaluate(fmt.Sprintf(`document.querySelector(%q)?.innerText ?? ""`, selector), &text))
	if err != nil {
		return ""
	}
	return text
}

// Until waits until an expression of JavaScript is true, also if another page is loaded in the
// meantime.
func (b *Browser) Until(what, expression string) {
	b.t.Helper()
	deadline := time.NewTimer(timeout)
	defer deadline.Stop()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		ctx, cancel := context.WithTimeout(b.ctx, timeout)
		var done bool
		err := chromedp.Run(ctx, chromedp.Evaluate("Boolean("+expression+")", &done))
		cancel()
		if err == nil && done {
			return
		}
		select {
		case <-tick.C:
		case <-deadline.C:
			b.t.Fatalf("timeout: %s (%v)\n%s", what, err, b.Text("body"))
		}
	}
}

// Sees waits until the page shows a text.
func (b *Browser) Sees(text string) {
	b.t.Helper()
	b.Until("sees "+text, fmt.Sprintf(`document.body?.innerText.includes(%q)`, text))
}

// Size sets the size of the window in CSS pixels.
func (b *Browser) Size(width, height int64) {
	b.t.Helper()
	b.Do("size", emulation.SetDeviceMetricsOverride(width, height, 1, width < 600))
}

// Zone sets the time zone of the browser, such as "Asia/Tokyo".
func (b *Browser) Zone(name string) { b.Do("time zone", emulation.SetTimezoneOverride(name)) }

// Dark sets the preferred colour scheme to dark or light.
func (b *Browser) Dark(on bool) {
	b.t.Helper()
	scheme := "light"
	if on {
		scheme = "dark"
	}
	feature := &emulation.MediaFeature{Name: "prefers-color-scheme", Value: scheme}
	b.Do("colours", emulation.SetEmulatedMedia().WithFeatures([]*emulation.MediaFeature{feature}))
}

// Shoot saves a screenshot of the whole page in a directory. It does nothing if dir is "".
func (b *Browser) Shoot(dir, name string) {
	b.t.Helper()
	if dir == "" {
		return
	}
	var png []byte
	b.Do("screenshot", chromedp.FullScreenshot(&png, 100))
	if err := os.WriteFile(filepath.Join(dir, name+".png"), png, 0o644); err != nil {
		b.t.Fatal(err)
	}
}

// NoWiderThanWindow fails the test if the page must be scrolled sideways.
func (b *Browser) NoWiderThanWindow() {
	b.t.Helper()
	if over := Eval[float64](b, `document.documentElement.scrollWidth - window.innerWidth`); over > 0 {
		b.t.Errorf("%s is %v pixels wider than the window", Eval[string](b, `location.pathname`), over)
	}
}

// Clear returns an action that empties a field.
func Clear(selector string) chromedp.Action { return chromedp.Clear(selector, chromedp.ByQuery) }

// Press presses keys on the element that has the focus.
func (b *Browser) Press(keys string) {
	b.t.Helper()
	b.Do("press a key", chromedp.KeyEvent(keys))
}

// faults is a script that lists the faults of a page for people who cannot see it, see it
// badly or use no mouse: controls without a name, too little contrast (WCAG 2.2, success
// criteria 1.4.3, 2.4.6, 4.1.2), targets that are too small for a finger (2.5.8).
const faults = `(() => {
  const found = [];
  const say = (what, e) => found.push(what + ": " + e.outerHTML.slice(0, 120));
  const seen = (e) => e.checkVisibility() && e.getClientRects().length > 0;
  if (document.querySelectorAll("h1").length !== 1) found.push("not one h1");
  if (!document.querySelector("main")) found.push("no main");
  if (!document.documentElement.lang || !document.title) found.push("no language or title");
  const ids = new Set();
  for (const e of document.querySelectorAll("[id]")) {
    if (ids.has(e.id)) say("id twice", e);
    ids.add(e.id);
  }
  for (const e of document.querySelectorAll("input:not([type=hidden]), select, textarea"))
    if (!e.labels?.length && !e.ariaLabel) say("no label", e);
  for (const e of document.querySelectorAll("a, button"))
    if (!e.textContent.trim() && !e.ariaLabel && !e.querySelector("img[alt]")) say("no name", e);
  for (const e of document.querySelectorAll("img")) if (!e.hasAttribute("alt")) say("no alt", e);
  for (const e of document.querySelectorAll("svg"))
    if (e.getAttribute("role") !== "img" && !e.ariaHidden) say("an image without a text", e);
  for (const e of document.querySelectorAll("button, .button, input:not([type=hidden]), select"))
    if (seen(e) && Math.min(e.getBoundingClientRect().width, e.getBoundingClientRect().height) < 17)
      say("too small", e);
  const canvas = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
  const rgba = (color) => {
    canvas.clearRect(0, 0, 1, 1);
    canvas.fillStyle = color;
    canvas.fillRect(0, 0, 1, 1);
    return canvas.getImageData(0, 0, 1, 1).data;
  };
  const luminance = (c) => {
    const linear = (v) => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4;
    const [r, g, b] = [0, 1, 2].map((i) => linear(c[i] / 255));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const background = (e) => {
    for (; e; e = e.parentElement) {
      const c = rgba(getComputedStyle(e).backgroundColor);
      if (c[3] > 250) return c;
    }
    return [255, 255, 255, 255];
  };
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const e = walker.currentNode.parentElement;
    if (!walker.currentNode.nodeValue.trim() || !seen(e) || e.closest(".unseen, .skip, script")) continue;
    const [a, b] = [luminance(rgba(getComputedStyle(e).color)), luminance(background(e))];
    const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    if (ratio < 4.5) say("contrast " + ratio.toFixed(2), e);
  }
  return found;
})()`

// Accessible fails the test for each fault of the current page that excludes people.
func (b *Browser) Accessible() {
	b.t.Helper()
	for _, fault := range Eval[[]string](b, faults) {
		b.t.Errorf("%s: %s", Eval[string](b, `location.pathname`), fault)
	}
}

// Point returns an action that moves the pointer to the middle of the first element that a
// selector matches.
func Point(selector string) chromedp.Action {
	return chromedp.QueryAfter(
		selector,
		func(ctx context.Context, _ cdpruntime.ExecutionContextID, nodes ...*cdp.Node) error {
			box, err := dom.GetBoxModel().WithNodeID(nodes[0].NodeID).Do(ctx)
			if err != nil {
				return err
			}
			x, y := (box.Content[0]+box.Content[4])/2, (box.Content[1]+box.Content[5])/2
			return input.DispatchMouseEvent(input.MouseMoved, x, y).Do(ctx)
		},
		chromedp.ByQuery,
	)
}
