package rendezvous

import (
	"context"
	"crypto/ed25519"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/easyfind-usb/easyfind/internal/doctor"
	"github.com/easyfind-usb/easyfind/migrations"
	"github.com/easyfind-usb/easyfind/proto/api"
	"github.com/easyfind-usb/easyfind/proto/ident"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/backup"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/cluster"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/database"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/relay"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/sqlitestore"
)

// Bounds of the doctor.
const (
	doctorWait   = 10 * time.Second // for the database
	databaseSkew = 2 * time.Second  // leases are for five
	littleSpace  = 64 << 20         // bytes
)

// ErrSick is the error of a doctor that has found something wrong.
var ErrSick = errors.New("something is wrong: see the lines marked ✗")

// Doctor checks a server with these settings, running or not, from its own
// machine: the settings, the data directory, the database, the ports, the other
// instances; and what a peer meets at the address of the join link. link is that
// of another server to be met in place of it, "" for none.
func Doctor(ctx context.Context, c Config, link string) []doctor.Finding {
	s, err := c.check()
	if err != nil {
		return []doctor.Finding{doctor.Bad("settings", "", "%v", err)}
	}
	found := []doctor.Finding{doctor.Good("settings", "they can be read and belong together")}
	found = append(found, s.examineData())
	store, more := s.examineDatabase(ctx)
	found = append(found, more...)
	if store != nil {
		defer store.Close()
		found = append(found, s.examineCluster(ctx, store)...)
	}
	target, err := s.target(link)
	if err != nil {
		return append(found, doctor.Note("server", "start it, and look again", "not met: %v", err))
	}
	running := s.examinePorts(ctx, target, &found)
	if store != nil && link == "" {
		target.Credentials = ownCredentials(store)
	}
	return append(found, s.meet(ctx, target, running, link != "")...)
}

// target is the server that a link leads to, or else the one that the data
// directory's join link does.
func (s *settings) target(link string) (doctor.Target, error) {
	own := link == ""
	if own {
		var err error
		if link, err = KeptJoinLink(s.Data); err != nil {
			return doctor.Target{}, err
		}
	}
	j, err := api.ParseJoinLink(link)
	return doctor.Target{Link: j, Inside: own}, err
}

// meet checks what a peer meets. Not every router lets its own network in by
// the public address: what runs here, but is not reached there, is left open.
func (s *settings) meet(ctx context.Context, t doctor.Target, running, other bool) []doctor.Finding {
	found := doctor.Outside(ctx, t)
	if running && !other {
		for i, f := range found {
			if f.Check == "address" && f.Verdict == doctor.Wrong {
				found[i] = doctor.Note(f.Check, "only from another network it shows whether this is so there too", "%s", f.Detail)
			}
		}
	}
	if host, _, err := net.SplitHostPort(t.Link.Host); err == nil && !other && hereOnly(host) {
		found = append(found, doctor.Note("public URL", "set --public-url to how others reach this machine, and start the server again", "nobody but this machine reaches %s", t.Link.Host))
	}
	return append(found, doctor.Note("from outside", "run easyfind doctor on an agent in another network", "what a firewall or a router does to others shows only there"))
}

// examineData looks at the data directory.
func (s *settings) examineData() doctor.Finding {
	const check = "data directory"
	info, err := os.Stat(s.Data)
	switch {
	case err != nil:
		return doctor.Note(check, "the first start makes it", "%v", err)
	case !info.IsDir():
		return doctor.Bad(check, "choose another with --data", "%s is a file", s.Data)
	}
	probe, err := os.CreateTemp(s.Data, ".doctor-*")
	if err != nil {
		return doctor.Bad(check, "choose another with --data, or let the server's user write there", "%v", err)
	}
	probe.Close()
	os.Remove(probe.Name())
	files, err := os.ReadDir(s.Data)
	if err != nil {
		return doctor.Bad(check, "choose another with --data, or let the server's user read there", "%v", err)
	}
	for _, f := range files {
		if info, err := f.Info(); err == nil && info.Mode().IsRegular() && info.Mode().Perm()&0o007 != 0 {
			return doctor.Bad(check, "chmod 600 "+filepath.Join(s.Data, f.Name()), "every user may read or change %s", f.Name())
		}
	}
	if free, ok := freeSpace(s.Data); ok && free < littleSpace {
		return doctor.Bad(check, "make room: without space nobody can register or pair", "%s has %d MiB of space left", s.Data, free>>20)
	}
	return doctor.Good(check, "%s can be written to, and what is in it is closed to others", s.Data)
}

// examineDatabase looks at the database, and returns it open.
func (s *settings) examineDatabase(ctx context.Context) (*database.Database, []doctor.Finding) {
	const check = "database"
	ctx, cancel := context.WithTimeout(ctx, doctorWait)
	defer cancel()
	db, closed, err := s.existingDatabase(ctx)
	if err != nil {
		if errors.Is(err, sqlitestore.ErrNone) {
			return nil, []doctor.Finding{doctor.Note(check, "the first start makes it", "there is none yet")}
		}
		return nil, []doctor.Finding{doctor.Bad(check, "", "%v", err)}
	}
	found := []doctor.Finding{about(ctx, db)}
	if err := closed(); err != nil {
		found = append(found, doctor.Bad(check, "", "%v", err))
	}
	store, err := database.OpenExisting(ctx, s.location())
	if err != nil {
		return nil, append(found, doctor.Bad(check, "", "%v", err))
	}
	began := time.Now()
	if err := store.Ping(ctx); err != nil {
		return store, append(found, doctor.Bad(check, "", "%v", err))
	}
	found = append(found, doctor.Good(check, "it takes writes, and answers in %d ms", time.Since(began).Milliseconds()))
	if s.DatabaseURL == "" {
		return store, found
	}
	theirs, err := store.Leases.Clock(ctx)
	switch ahead := time.Since(theirs); {
	case err != nil:
		found = append(found, doctor.Bad("clock", "", "%v", err))
	case ahead.Abs() > databaseSkew:
		found = append(found, doctor.Bad("clock", "set both clocks by NTP", "this machine's is %s off the database's", ahead.Abs().Round(time.Second)))
	default:
		found = append(found, doctor.Good("clock", "it agrees with the database's"))
	}
	return store, found
}

// about tells the versions of a database, and whether it can be brought further.
func about(ctx context.Context, b backup.Database) doctor.Finding {
	const check = "database"
	schema, err := migrations.Version(ctx, b.DB, b.Engine)
	if err != nil {
		return doctor.Bad(check, "", "%v", err)
	}
	var version string
	may := true
	query, kind := `SELECT sqlite_version(), 1`, "SQLite"
	if b.Engine == migrations.Postgres {
		query, kind = `SELECT split_part(current_setting('server_version'), ' ', 1), has_schema_privilege(current_schema(), 'CREATE')`, "Postgres"
	}
	if err := b.DB.QueryRowContext(ctx, query).Scan(&version, &may); err != nil {
		return doctor.Bad(check, "", "%v", err)
	}
	if !may {
		return doctor.Bad(check, "GRANT CREATE, USAGE ON SCHEMA public to it, before the next upgrade", "%s %s: the role may not create tables", kind, version)
	}
	return doctor.Good(check, "%s %s, schema version %d", kind, version, schema)
}

// examineCluster looks at the links to the instances that hold a lease.
func (s *settings) examineCluster(ctx context.Context, store *database.Database) []doctor.Finding {
	const check = "instances"
	if s.DatabaseURL == "" {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, doctorWait)
	defer cancel()
	list, err := store.Leases.Instances(ctx, time.Now())
	if err != nil {
		return []doctor.Finding{doctor.Bad(check, "", "%v", err)}
	}
	if len(list) == 0 {
		return []doctor.Finding{doctor.Note(check, "", "none runs now")}
	}
	seed, err := secret(ctx, store.Secrets, secretCluster)
	if err != nil {
		return []doctor.Finding{doctor.Bad(check, "", "%v", err)}
	}
	key, err := ident.KeyFromSeed(seed)
	if err != nil {
		return []doctor.Finding{doctor.Bad(check, "", "%v", err)}
	}
	var found []doctor.Finding
	for _, i := range list {
		switch err := error(nil); {
		case i.Address == "" && len(list) > 1:
			found = append(found, doctor.Bad(check, "set its --cluster-listen", "%s takes no links: agents there do not reach agents of other instances", i.Name))
		case i.Address == "":
			found = append(found, doctor.Good(check, "%s is the only one", i.Name))
		default:
			if err = cluster.Reach(ctx, i.Address, key); err != nil {
				found = append(found, doctor.Bad(check, "open the port between the instances, or correct its --cluster-address", "%s is not reached: %v", i.Name, err))
				continue
			}
			found = append(found, doctor.Good(check, "%s takes links at %s", i.Name, i.Address))
		}
	}
	return found
}

// ownCredentials are credentials for the relay, of a peer that does not exist.
func ownCredentials(store *database.Database) func(context.Context) (api.RelayCredentials, error) {
	return func(ctx context.Context) (api.RelayCredentials, error) {
		key, err := secret(ctx, store.Secrets, secretRelay)
		if err != nil {
			return api.RelayCredentials{}, err
		}
		public, _, err := ed25519.GenerateKey(nil)
		if err != nil {
			return api.RelayCredentials{}, err
		}
		c := relay.Issue(key, ident.IDOf(public), time.Now())
		return api.RelayCredentials{Username: c.Username, Password: c.Password, Expires: c.Expires}, nil
	}
}

// examinePorts looks at the ports, and reports whether the server runs here.
func (s *settings) examinePorts(ctx context.Context, t doctor.Target, found *[]doctor.Finding) (running bool) {
	running = s.answers(ctx, t)
	for _, p := range []struct{ flag, network, address string }{
		{"listen", "tcp", s.Listen},
		{"stun-listen", "tcp", s.STUNListen},
		{"stun-listen", "udp", s.STUNListen},
		{"http-listen", "tcp", s.HTTPListen},
		{"cluster-listen", "tcp", s.ClusterListen},
		{"metrics-listen", "tcp", s.MetricsListen},
	} {
		if p.address == "" || strings.HasSuffix(p.address, ":0") {
			continue
		}
		*found = append(*found, examinePort(p.flag, p.network, p.address, running))
	}
	return running
}

// answers reports whether the server of a join link answers at the port of the
// settings on this machine.
func (s *settings) answers(ctx context.Context, t doctor.Target) bool {
	host, port, err := net.SplitHostPort(s.Listen)
	if err != nil {
		return false
	}
	if ip := net.ParseIP(host); host == "" || ip != nil && ip.IsUnspecified() {
		host = "127.0.0.1"
	}
	config := &tls.Config{MinVersion: tls.VersionTLS13}
	if t.Link.Pin != nil {
		config = ident.PinnedTLS(*t.Link.Pin)
	}
	config.ServerName, _, _ = net.SplitHostPort(t.Link.Host)
	ctx, cancel := context.WithTimeout(ctx, doctorWait)
	defer cancel()
	conn, err := (&tls.Dialer{Config: config}).DialContext(ctx, "tcp", net.JoinHostPort(host, port))
	if err != nil {
		return false
	}
	conn.Close()
	return true
}

// examinePort looks at one port of the settings.
func examinePort(flag, network, address string, running bool) doctor.Finding {
	check := fmt.Sprintf("port %s/%s", strings.TrimPrefix(address, ":"), network)
	var err error
	if network == "udp" {
		var c net.PacketConn
		if c, err = net.ListenPacket("udp", address); err == nil {
			c.Close()
		}
	} else {
		var l net.Listener
		if l, err = net.Listen("tcp", address); err == nil {
			l.Close()
		}
	}
	switch {
	case err == nil && running:
		return doctor.Bad(check, "restart it: these settings are not those that it has read", "free, although the server runs (%s)", flag)
	case err == nil:
		return doctor.Note(check, "start the server", "free (%s): the server does not run", flag)
	case !errors.Is(err, syscall.EADDRINUSE):
		return doctor.Bad(check, "correct --"+flag+"; a port below 1024 needs root or CAP_NET_BIND_SERVICE", "it cannot be listened at: %v", err)
	case running:
		return doctor.Good(check, "the server has it (%s)", flag)
	}
	return doctor.Bad(check, "stop what uses it (ss -lnp), or choose another with --"+flag, "another program has it (%s)", flag)
}
