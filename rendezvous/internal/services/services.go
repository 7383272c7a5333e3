// Package services assembles the services of a rendezvous over one database. It
// holds no logic: each consumer takes the services that it needs.
package services

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/easyfind-usb/easyfind/proto/ident"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/database"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/registry"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/registry/administration"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/registry/audit"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/registry/history"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/registry/mailboxes"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/registry/peers"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/registry/presence"
)

// Config configures the services. Only Database is required.
type Config struct {
	Database *database.Database
	// Open lets new peers register without an invite.
	Open bool
	// RequireBinding refuses registrations that are not bound to their channel,
	// see peers.RegistrationConfig.
	RequireBinding bool
	MaxPeers       int              // 0: the default of peers.Registration
	PollInterval   time.Duration    // of mailboxes; 0: their default
	Now            func() time.Time // nil: time.Now
	Logger         *slog.Logger     // nil: no records

	// OnRevoked ends the connections of a revoked peer, see
	// peers.RevocationConfig. It may be nil.
	OnRevoked func(id ident.PeerID, at time.Time)
	// OnRefused is called for each refused request with the request and the
	// reason. It may be nil.
	OnRefused func(request, reason string)
	// OnDone is called for each step of registrations and pairings with the
	// request ("register", "pair") and the step. It may be nil.
	OnDone func(request, step string)
	// Figures returns the figures of this instance for the history, without
	// registrations and refusals. Nil keeps no history.
	Figures func() history.Figures
}

// Services are the services of a rendezvous.
type Services struct {
	Registration   *peers.Registration
	Directory      *peers.Directory
	AllowList      *peers.AllowList
	Invites        *peers.Invites
	Approvals      *peers.Approvals
	JoinRequests   *peers.JoinRequests
	Revocations    *peers.Revocations
	Counter        *peers.Counter
	Mailboxes      *mailboxes.Service
	Administration *administration.Service
	Audit          *audit.Log
	Links          *presence.Links
	Instances      *history.Instances
	History        *history.Reader

	recorder *history.Recorder // nil without figures
	sweeper  *registry.Sweeper
}

// New returns the services. It starts nothing and does not use the database.
func New(c Config) (*Services, error) {
	if c.Database == nil {
		return nil, errors.New("services: a database is needed")
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.OnDone == nil {
		c.OnDone = func(string, string) {}
	}
	db := c.Database
	s := &Services{
		Links:     presence.NewLinks(db.Links, c.Now),
		Instances: history.NewInstances(db.Leases, db.Presence, db.History, c.Now),
		History:   history.NewReader(db.History, c.Now),
	}
	secrets := registry.NewSecrets(db.Secrets, nil)
	for _, step := range []func(*Config, *registry.Secrets) error{
		s.openLogs, s.openPeers, s.openRegistration,
		s.openRest,
	} {
		if err := step(&c, secrets); err != nil {
			return nil, err
		}
	}
	return s, nil
}

func (s *Services) openLogs(c *Config, _ *registry.Secrets) (err error) {
	s.Audit, err = audit.NewLog(audit.Config{
		Store: c.Database.Audit, Now: c.Now, Logger: c.Logger,
		OnRefused: c.OnRefused,
	})
	if err != nil {
		return err
	}
	if s.Counter, err = peers.NewCounter(c.Database.Admissions, c.Logger); err != nil {
		return err
	}
	s.JoinRequests, err = peers.NewJoinRequests(c.Database.JoinRequests, c.Now, c.Logger)
	return err
}

func (s *Services) openPeers(c *Config, secrets *registry.Secrets) (err error) {
	db := c.Database
	if s.Directory, err = peers.NewDirectory(db.Peers, db.Presence, c.Now); err != nil {
		return err
	}
	if s.AllowList, err = peers.NewAllowList(db.AllowList, c.Now); err != nil {
		return err
	}
	if s.Invites, err = peers.NewInvites(db.Invites, secrets, c.Now); err != nil {
		return err
	}
	if s.Approvals, err = peers.NewApprovals(db.Approvals, c.Now); err != nil {
		return err
	}
	s.Revocations, err = peers.NewRevocations(peers.RevocationConfig{
		Store: db.Revocations, Peers: db.Peers, Counter: s.Counter, Now: c.Now, Logger: c.Logger,
		OnRevoked: c.OnRevoked,
	})
	return err
}

func (s *Services) openRegistration(c *Config, secrets *registry.Secrets) (err error) {
	done := c.OnDone
	s.Registration, err = peers.NewRegistration(peers.RegistrationConfig{
		Store: c.Database.Admissions, Peers: c.Database.Peers, Secrets: secrets, Counter: s.Counter,
		JoinRequests: s.JoinRequests, Open: c.Open, RequireBinding: c.RequireBinding, MaxPeers: c.MaxPeers, Now: c.Now,
		Refused: s.Audit.Refused,
		OnRegistered: func(created bool) {
			if created {
				done("register", "new")
				return
			}
			done("register", "renewed")
		},
	})
	if err != nil {
		return err
	}
	s.Mailboxes, err = mailboxes.New(mailboxes.Config{
		Store: c.Database.Mailboxes, PollInterval: c.PollInterval, Now: c.Now, Refused: s.Audit.Refused,
		OnStep: func(step string) { done("pair", step) },
	})
	return err
}

func (s *Services) openRest(c *Config, secrets *registry.Secrets) (err error) {
	s.Administration, err = administration.New(administration.Config{
		Store: c.Database.Administration, Secrets: secrets, AuthenticatePeer: s.Directory.Authenticate, Now: c.Now,
		Refused: s.Audit.Refused,
	})
	if err != nil {
		return err
	}
	if s.sweeper, err = registry.NewSweeper(c.Database, c.Now, c.Logger); err != nil || c.Figures == nil {
		return err
	}
	s.recorder, err = history.NewRecorder(history.Config{
		Store: c.Database.History, Pairs: c.Database.Links, Now: c.Now, Logger: c.Logger,
		Figures: func() history.Figures {
			f := c.Figures()
			f.Registrations, f.Refusals = s.Counter.Created(), s.Audit.Refusals()
			return f
		},
	})
	return err
}

// Run runs the services' periodic work until ctx ends.
func (s *Services) Run(ctx context.Context) error {
	runs := []func(context.Context) error{
		s.Audit.Run, s.JoinRequests.Run, s.Counter.Run, s.Revocations.Run, s.sweeper.Run,
	}
	if s.recorder != nil {
		runs = append(runs, s.recorder.Run)
	}
	errs := make([]error, len(runs))
	var running sync.WaitGroup
	for i, run := range runs {
		running.Go(func() { errs[i] = run(ctx) })
	}
	running.Wait()
	return errors.Join(errs...)
}
