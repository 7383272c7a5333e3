package easyfind_test

// mayImport lists for each package the trees of this module that it may import. A
// package without a row fails the test, so that adding a package needs a decision. A
// package may always import its own subtree. Tests may import all of their own
// program, and the packages of testOnly.
var mayImport = map[string][]string{
	"proto/ident":  {},
	"proto/api":    {"proto/ident"},
	"proto/signal": {"proto/ident"},
	"proto/tunnel": {"internal/bufferpool"},
	"proto/call":   {},
	"proto/usbip":  {"internal/bufferpool"},

	"migrations": {},

	"rendezvous/internal/registry":          {"proto/ident", "proto/api"},
	"rendezvous/internal/registry/audit":    {"proto/ident", "rendezvous/internal/registry"},
	"rendezvous/internal/registry/blobs":    {"rendezvous/internal/registry"},
	"rendezvous/internal/registry/presence": {"proto/ident", "rendezvous/internal/registry"},
	"rendezvous/internal/registry/history": {
		"proto/ident", "rendezvous/internal/registry",
		"rendezvous/internal/registry/presence",
	},
	"rendezvous/internal/registry/mailboxes": {
		"proto/ident", "proto/api", "rendezvous/internal/registry",
		"rendezvous/internal/registry/audit",
	},
	"rendezvous/internal/registry/administration": {
		"proto/ident", "proto/api", "rendezvous/internal/registry",
		"rendezvous/internal/registry/audit",
	},
	"rendezvous/internal/registry/peers": {
		"proto/ident", "proto/api", "rendezvous/internal/registry",
		"rendezvous/internal/registry/audit", "rendezvous/internal/registry/presence",
	},
	"rendezvous/internal/database": {
		"migrations", "rendezvous/internal/registry",
		"rendezvous/internal/pgstore", "rendezvous/internal/sqlitestore",
	},
	"rendezvous/internal/services": {
		"proto/ident", "rendezvous/internal/registry",
		"rendezvous/internal/database",
	},
	"rendezvous/internal/registry/storetest": {
		"proto/ident", "rendezvous/internal/registry",
		"rendezvous/internal/database",
	},
	"rendezvous/internal/batch": {},
	"rendezvous/internal/pgstore": {
		"proto/ident", "migrations", "rendezvous/internal/registry",
		"rendezvous/internal/batch",
	},
	"rendezvous/internal/pgstore/pgtest": {},
	"rendezvous/internal/sqlitestore": {
		"proto/ident", "migrations", "rendezvous/internal/registry",
		"rendezvous/internal/batch",
	},
	"rendezvous/internal/httpapi": {
		"proto/ident", "proto/api", "rendezvous/internal/registry",
		"internal/limits",
	},
	"rendezvous/internal/web": {"proto/ident", "proto/api", "rendezvous/internal/registry"},
	"rendezvous/internal/hub": {"proto/ident", "proto/signal"},
	"rendezvous/internal/cluster": {
		"proto/ident", "proto/signal", "rendezvous/internal/registry",
		"rendezvous/internal/batch",
	},
	"rendezvous/internal/metrics":         {},
	"rendezvous/internal/backup":          {"migrations"},
	"rendezvous/internal/certs":           {"proto/ident", "rendezvous/internal/registry"},
	"rendezvous/internal/relay":           {"proto/ident", "internal/limits"},
	"rendezvous/internal/relay/policy":    {"proto/ident", "internal/limits"},
	"rendezvous/internal/relay/datagrams": {},
	"rendezvous/internal/relay/relayload": {"rendezvous/internal/relay/datagrams"},
	"rendezvous/internal/relay/relaytest": {},
	"rendezvous/internal/listener":        {"proto/signal", "internal/limits"},
	"rendezvous/internal/datadir":         {},
	"rendezvous/internal/secrets":         {"proto/ident", "rendezvous/internal/registry"},
	"rendezvous/internal/config":          {"proto/ident", "proto/api", "rendezvous/internal/certs"},
	"rendezvous/internal/accesslink": {
		"proto/ident", "rendezvous/internal/datadir",
		"rendezvous/internal/registry",
	},
	"rendezvous/internal/redirect": {},
	"rendezvous/internal/archive": {
		"migrations", "rendezvous/internal/accesslink",
		"rendezvous/internal/backup", "rendezvous/internal/certs", "rendezvous/internal/database",
		"rendezvous/internal/datadir", "rendezvous/internal/sqlitestore",
	},
	"rendezvous/internal/selfcheck": {
		"internal/doctor", "migrations", "proto/ident", "proto/api",
		"rendezvous/internal/accesslink", "rendezvous/internal/cluster", "rendezvous/internal/config",
		"rendezvous/internal/database", "rendezvous/internal/datadir", "rendezvous/internal/relay",
		"rendezvous/internal/secrets", "rendezvous/internal/sqlitestore",
	},
	"rendezvous/internal/restserver": {
		"proto", "rendezvous/internal/accesslink",
		"rendezvous/internal/cluster", "rendezvous/internal/config", "rendezvous/internal/httpapi",
		"rendezvous/internal/hub", "rendezvous/internal/listener", "rendezvous/internal/relay",
		"rendezvous/internal/services", "rendezvous/internal/web",
	},
	"rendezvous/internal/server": {"internal/limits", "proto", "rendezvous/internal"},
	"rendezvous":                 {"internal/doctor", "rendezvous/internal"},
	"rendezvous/cmd/easyfind-rendezvous": {
		"rendezvous", "internal/settings", "internal/logging",
		"internal/doctor",
	},
	"agent/internal/usb":                     {},
	"agent/internal/usb/massstorage":         {"agent/internal/usb"},
	"agent/internal/usb/usbtest":             {"agent/internal/usb", "agent/internal/usb/massstorage"},
	"agent/internal/usb/virtual":             {"agent/internal/usb"},
	"agent/internal/usb/virtual/virtualtest": {"agent/internal/usb", "agent/internal/usb/virtual"},
	"agent/internal/usb/uevent":              {},
	"agent/internal/usb/usbfs":               {"agent/internal/usb"},
	"agent/internal/usb/libusb":              {"agent/internal/usb"},
	"agent/internal/usbip":                   {"internal/bufferpool", "proto/usbip", "agent/internal/usb"},
	"agent/internal/link":                    {"internal/bufferpool", "proto/ident", "proto/tunnel"},
	"agent/internal/usb/usbip":               {"agent/internal/usb", "agent/internal/usbip"},
	"agent/internal/link/linktest":           {"proto/ident", "proto/tunnel", "agent/internal/link"},
	"agent/internal/link/quiclink": {
		"proto/ident", "proto/tunnel", "agent/internal/link",
		"agent/internal/link/congestion",
	},
	"agent/internal/link/congestion": {},
	"agent/internal/link/tcplink": {
		"proto/ident", "proto/tunnel", "agent/internal/link",
		"internal/limits",
	},
	"agent/internal/path":         {"proto/call"},
	"agent/internal/session/fifo": {},
	"agent/internal/session/transport": {
		"internal/bufferpool", "proto/tunnel", "agent/internal/link",
		"agent/internal/session/fifo",
	},
	"agent/internal/session": {
		"proto/ident", "proto/tunnel", "agent/internal/link",
		"agent/internal/session/fifo", "agent/internal/session/transport", "agent/internal/usb",
	},
	"agent/internal/rvclient":              {"proto/ident", "proto/api", "proto/signal"},
	"agent/internal/pairing":               {"proto/ident", "proto/api", "agent/internal/pairing/cpace"},
	"agent/internal/pairing/cpace":         {},
	"agent/internal/state":                 {"proto/ident"},
	"agent/internal/localapi":              {"proto/ident", "internal/doctor"},
	"agent/internal/localapi/localapitest": {"agent/internal/localapi", "internal/doctor"},
	"agent/internal/peer": {
		"proto/ident", "proto/call", "proto/tunnel", "agent/internal/link",
		"agent/internal/path", "agent/internal/session",
	},
	"agent/internal/peers": {
		"proto/ident", "agent/internal/link", "agent/internal/peer",
		"agent/internal/session", "agent/internal/state",
	},
	"agent/internal/network": {
		"proto/api", "proto/call", "proto/ident",
		"agent/internal/lifecycle", "agent/internal/link", "agent/internal/path", "agent/internal/peer",
		"agent/internal/rvclient",
	},
	"agent/internal/rvsync": {
		"proto/ident", "proto/signal", "agent/internal/link",
		"agent/internal/rvclient", "agent/internal/session", "agent/internal/state",
	},
	"agent/internal/lifecycle": {},
	"agent/internal/buses":     {"agent/internal/usb"},
	"agent/internal/diagnosis": {
		"proto/api", "proto/call", "agent/internal/rvclient",
		"internal/doctor",
	},
	"agent/internal/backend": {
		"proto/ident", "proto/tunnel", "agent/internal/localapi",
		"agent/internal/pairing", "agent/internal/peer", "agent/internal/peers", "agent/internal/rvclient",
		"agent/internal/session", "agent/internal/sharing", "agent/internal/state", "agent/internal/usb",
		"agent/internal/usbip", "agent/internal/using", "internal/doctor",
	},
	"agent": {"proto/ident", "agent/internal"},
	"agent/internal/stage": {
		"agent/internal/stage/ahead", "agent/internal/stage/counts", "agent/internal/stage/enumeration",
		"agent/internal/stage/guard", "agent/internal/stage/interrupt", "agent/internal/stage/isochronous",
		"agent/internal/stage/storage", "agent/internal/stage/stream", "agent/internal/usb",
	},
	"agent/internal/stage/ahead": {
		"agent/internal/stage/counts", "agent/internal/stage/outbox", "agent/internal/usb",
	},
	"agent/internal/stage/counts": {},
	"agent/internal/stage/enumeration": {
		"agent/internal/stage/counts", "agent/internal/stage/outbox", "agent/internal/usb",
	},
	"agent/internal/stage/guard":     {"agent/internal/stage/outbox", "agent/internal/usb"},
	"agent/internal/stage/interrupt": {"agent/internal/stage/ahead", "agent/internal/usb"},
	"agent/internal/stage/outbox":    {"agent/internal/usb"},
	"agent/internal/stage/stream":    {"agent/internal/stage/ahead", "agent/internal/usb"},
	"agent/internal/stage/isochronous": {
		"proto/tunnel", "agent/internal/stage/counts", "agent/internal/stage/outbox", "agent/internal/usb",
	},
	"agent/internal/stage/storage": {
		"agent/internal/stage/counts", "agent/internal/stage/guard", "agent/internal/stage/outbox",
		"agent/internal/usb",
	},
	"agent/internal/sharing": {
		"proto/ident", "proto/tunnel", "agent/internal/session",
		"agent/internal/stage/guard", "agent/internal/stage/isochronous", "agent/internal/state",
		"agent/internal/usb",
	},
	"agent/internal/using": {
		"proto/ident", "proto/tunnel", "agent/internal/session",
		"agent/internal/stage", "agent/internal/state", "agent/internal/usb", "agent/internal/usbip",
	},
	"agent/internal/demo": {
		"proto/ident", "agent/internal/localapi", "agent/internal/usb",
		"agent/internal/usbip",
	},
	"agent/cmd/easyfind-demo": {"agent/internal/demo"},
	"agent/cmd/easyfind": {
		"agent", "agent/internal/localapi", "proto/ident",
		"internal/settings", "internal/logging", "internal/doctor",
	},
	"deploy/docs":         {},
	"internal/settings":   {},
	"internal/bufferpool": {},
	"internal/limits":     {},
	"internal/logging":    {"internal/limits"},
	"internal/doctor":     {"proto/ident", "proto/api", "proto/signal"},
	"deploy/load/swarm":   {"proto"},
	"deploy/load/cmd/easyfind-load": {
		"proto/api", "deploy/load/swarm", "internal/logging",
		"internal/settings",
	},
}

// doors lists for each module of others the only packages that may import it. A module
// without a row fails the test, so that adding a dependency needs a decision.
var doors = map[string][]string{
	"github.com/prometheus/client_golang": {"rendezvous/internal/metrics"},

	"github.com/go-chi/chi/v5":         {"rendezvous/internal/httpapi"},
	"github.com/danielgtaylor/huma/v2": {"rendezvous/internal/httpapi"},
	"github.com/caddyserver/certmagic": {"rendezvous/internal/certs"},
	"github.com/mholt/acmez/v3":        {"rendezvous/internal/certs"},
	"go.uber.org/zap":                  {"rendezvous/internal/certs"},
	"golang.org/x/net":                 {"agent/internal/link/quiclink"},
	"golang.org/x/time": {
		"internal/limits", "rendezvous/internal/hub", "agent/internal/link", "agent/internal/session/transport",
	},
	"github.com/hashicorp/golang-lru/v2": {"internal/limits"},
	"golang.org/x/term":                  {"agent/cmd"},
	"github.com/pires/go-proxyproto":     {"rendezvous/internal/listener"},
	"github.com/coder/websocket":         {"rendezvous/internal/hub", "agent/internal/rvclient"},
	"github.com/jackc/pgx/v5":            {"rendezvous/internal/pgstore"},
	"modernc.org/sqlite":                 {"rendezvous/internal/sqlitestore"},
	"github.com/pressly/goose/v3":        {"migrations"},
	"github.com/pion/turn/v2":            {"rendezvous/internal/relay", "internal/doctor"},
	"github.com/pion/logging":            {"internal/doctor", "rendezvous/internal/relay", "agent/internal/path"},
	"github.com/pion/stun":               {"agent/internal/path", "rendezvous/internal/relay"},
	"github.com/pion/transport/v2":       {"agent/internal/path"},
	"github.com/pion/ice/v2":             {"agent/internal/path"},
	"github.com/quic-go/quic-go":         {"agent/internal/link/quiclink"},
	"github.com/apernet/quic-go":         {"agent/internal/link/quiclink"},
	"github.com/google/gousb":            {"agent/internal/usb/libusb"},
	"github.com/klauspost/reedsolomon":   {"agent/internal/stage/isochronous"},
	"github.com/gtank/ristretto255":      {"agent/internal/pairing/cpace"},
	"github.com/chromedp":                {"rendezvous/internal/web/webtest"},
	"github.com/alecthomas/kong": {
		"internal/settings", "agent/cmd/easyfind",
		"rendezvous/cmd/easyfind-rendezvous", "deploy/load/cmd/easyfind-load",
	},
	"gopkg.in/yaml.v3":             {"internal/settings"},
	"github.com/lmittmann/tint":    {"internal/logging"},
	"github.com/mattn/go-isatty":   {"rendezvous/cmd/easyfind-rendezvous"},
	"rsc.io/qr":                    {"rendezvous/internal/web"},
	"github.com/mdp/qrterminal/v3": {"agent/cmd/easyfind"},
	"golang.org/x/sys": {
		"agent/internal/usbip", "agent/internal/usb/uevent",
		"agent/internal/usb/usbfs", "agent/internal/link/tcplink", "agent/internal/link/quiclink",
		"agent/internal/state",
		"rendezvous/internal/sqlitestore", "rendezvous/internal/relay", "deploy/e2e",
	},
}

// inTests lists modules that tests of any package may import.
var inTests = []string{"go.uber.org/goleak", "github.com/google/go-cmp/cmp", "pgregory.net/rapid"}

// testOnly lists packages of this module that exist for tests. Only tests and packages
// in this list may import them.
var testOnly = []string{
	"internal/waittest", "internal/loopbacktest", "internal/logging/logtest", "rendezvous/internal/web/webtest",
	"internal/settings/settingstest", "rendezvous/internal/registry/storetest", "rendezvous/internal/pgstore/pgtest",
	"rendezvous/internal/certs/pebbletest", "rendezvous/internal/relay/relaytest", "agent/internal/link/linktest",
	"agent/internal/usb/usbtest", "agent/internal/usb/virtual/virtualtest", "agent/internal/stage/stagetest",
	"agent/internal/localapi/localapitest",
	"rendezvous/processtest", "rendezvous/bench", "rendezvous/fleet", "deploy/e2e",
}

// acrossInTests lists packages whose tests run a client of one program against the
// other program. It is the only way in which the two trees may depend on each other.
var acrossInTests = map[string]string{"agent/internal/rvclient": "rendezvous", "agent": "rendezvous"}

// shown lists packages whose exported API may contain types of a module of others.
// Their users must be doors to that module too.
var shown = map[string]string{"internal/settings": "github.com/alecthomas/kong"}

// environment lists the trees that may read the environment and the flags of the
// process and end it.
var environment = []string{
	"agent/cmd", "rendezvous/cmd", "deploy/load/cmd", "internal/settings", "deploy/e2e", "rendezvous/processtest",
	"rendezvous/internal/certs/pebbletest",
}
