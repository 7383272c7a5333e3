package selfcheck

import (
	"context"
	"crypto/ed25519"
	"database/sql"
	"errors"
	"time"

	"github.com/easyfind-usb/easyfind/internal/doctor"
	"github.com/easyfind-usb/easyfind/migrations"
	"github.com/easyfind-usb/easyfind/proto/api"
	"github.com/easyfind-usb/easyfind/proto/ident"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/cluster"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/database"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/relay"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/secrets"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/sqlitestore"
)

const (
	timeout      = 10 * time.Second // for the database and other instances
	maxClockSkew = 2 * time.Second  // between this machine and the database; a lease lasts five seconds
)

// checkDatabase checks the database and returns it open, or nil.
func (c Config) checkDatabase(ctx context.Context) (*database.Database, []doctor.Finding) {
	const check = "database"
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	first, err := c.checkVersions(ctx)
	if errors.Is(err, sqlitestore.ErrNone) {
		return nil, []doctor.Finding{doctor.Note(check, "the first start creates it", "it does not exist yet")}
	}
	if err != nil {
		return nil, []doctor.Finding{doctor.Bad(check, "", "%v", err)}
	}
	found := []doctor.Finding{first}
	db, err := database.OpenExisting(ctx, c.Database)
	if err != nil {
		return nil, append(found, doctor.Bad(check, "", "%v", err))
	}
	began := time.Now()
	if err := db.Ping(ctx); err != nil {
		return db, append(found, doctor.Bad(check, "", "%v", err))
	}
	found = append(found, doctor.Good(check, "it accepts writes, in %d ms", time.Since(began).Milliseconds()))
	if c.Database.URL == "" {
		return db, found
	}
	now, err := db.Leases.Clock(ctx)
	switch skew := time.Since(now).Abs(); {
	case err != nil:
		found = append(found, doctor.Bad("clock", "", "%v", err))
	case skew > maxClockSkew:
		found = append(found, doctor.Bad("clock", "synchronize both clocks with NTP",
			"this machine's clock differs from the database's by %s", skew.Round(time.Second)))
	default:
		found = append(found, doctor.Good("clock", "it agrees with the database's"))
	}
	return db, found
}

// checkVersions opens the database and checks its version, that of its schema, and
// whether the schema can be upgraded.
func (c Config) checkVersions(ctx context.Context) (doctor.Finding, error) {
	db, err := database.OpenExisting(ctx, c.Database)
	if err != nil {
		return doctor.Finding{}, err
	}
	plain := db.SQL()
	found := versions(ctx, plain, db.Engine)
	return found, errors.Join(plain.Close(), db.Close())
}

func versions(ctx context.Context, db *sql.DB, engine migrations.Engine) doctor.Finding {
	const check = "database"
	schema, err := migrations.Version(ctx, db, engine)
	if err != nil {
		return doctor.Bad(check, "", "%v", err)
	}
	var version string
	mayCreate := true
	query, name := `SELECT sqlite_version(), 1`, "SQLite"
	if engine == migrations.Postgres {
		query = `SELECT split_part(current_setting('server_version'), ' ', 1),
			has_schema_privilege(current_schema(), 'CREATE')`
		name = "Postgres"
	}
	if err := db.QueryRowContext(ctx, query).Scan(&version, &mayCreate); err != nil {
		return doctor.Bad(check, "", "%v", err)
	}
	if !mayCreate {
		return doctor.Bad(check, "GRANT CREATE, USAGE ON SCHEMA public to it, before the next upgrade",
			"%s %s: the role may not create tables", name, version)
	}
	return doctor.Good(check, "%s %s, schema version %d", name, version, schema)
}

// checkCluster checks the links to the instances that have a lease.
func (c Config) checkCluster(ctx context.Context, db *database.Database) []doctor.Finding {
	const check = "instances"
	if c.Database.URL == "" {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	list, err := db.Leases.Instances(ctx, time.Now())
	if err != nil {
		return []doctor.Finding{doctor.Bad(check, "", "%v", err)}
	}
	if len(list) == 0 {
		return []doctor.Finding{doctor.Note(check, "", "no instance is running")}
	}
	key, err := secrets.ClusterKey(ctx, db.Secrets)
	if err != nil {
		return []doctor.Finding{doctor.Bad(check, "", "%v", err)}
	}
	var found []doctor.Finding
	for _, i := range list {
		if i.Address == "" && len(list) == 1 {
			found = append(found, doctor.Good(check, "%s is the only one", i.Name))
			continue
		}
		if i.Address == "" {
			found = append(found, doctor.Bad(check, "set its --cluster-listen",
				"%s accepts no links: its agents cannot reach agents of other instances", i.Name))
			continue
		}
		if err := cluster.Reach(ctx, i.Address, key); err != nil {
			found = append(found, doctor.Bad(check,
				"open the port between the instances, or correct its --cluster-address",
				"%s cannot be reached: %v", i.Name, err))
			continue
		}
		found = append(found, doctor.Good(check, "%s accepts links at %s", i.Name, i.Address))
	}
	return found
}

// credentials returns a function that issues credentials for the relay, for a peer that
// does not exist.
func credentials(db *database.Database) func(context.Context) (api.RelayCredentials, error) {
	return func(ctx context.Context) (api.RelayCredentials, error) {
		key, err := secrets.Get(ctx, db.Secrets, secrets.Relay)
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
