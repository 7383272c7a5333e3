package certs

import (
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strings"

	"github.com/mholt/acmez/v3/acme"

	"github.com/easyfind-usb/easyfind/rendezvous/internal/registry"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/registry/blobs"
)

// explain returns a sentence that says why there is no certificate and what to do.
func (a *authority) explain(err error) string {
	var problem acme.Problem
	var network *net.OpError
	var request *url.Error
	var unknown x509.UnknownAuthorityError
	var name x509.HostnameError
	var syntax *json.SyntaxError
	directory := a.settings.Directory
	switch {
	case errors.As(err, &problem):
		return a.explainProblem(problem, strings.Contains(err.Error(), "registering account"))
	case errors.Is(err, blobs.ErrFenced):
		return "another instance has taken over: this one waits for its certificate"
	case errors.Is(err, registry.ErrUnavailable), a.storage.down.Load():
		return fmt.Sprintf("the database cannot be used: %v", err)
	case errors.As(err, &unknown):
		return fmt.Sprintf("this machine does not trust the certificate of %s: "+
			"set --acme-ca to the file of its operator's root certificate (%v)", directory, unknown)
	case errors.As(err, &name):
		return fmt.Sprintf("the certificate of %s is for another name: check --acme-directory (%v)", directory, name)
	case errors.As(err, &network), errors.As(err, &request):
		return fmt.Sprintf("%s cannot be reached: check --acme-directory, and that this machine can make outgoing "+
			"connections (%v)", directory, err)
	case errors.As(err, &syntax), strings.Contains(err.Error(), "provisioning client"):
		return fmt.Sprintf("%s is not an ACME directory: check --acme-directory (%v)", directory, err)
	}
	return err.Error()
}

// explainProblem explains a problem document of the authority (RFC 8555 section
// 6.7). account is true if it answers the request for an account.
func (a *authority) explainProblem(p acme.Problem, account bool) string {
	detail := p.Detail
	for _, sub := range p.Subproblems {
		detail += "; " + sub.Detail
	}
	unreachable := "the authority connects to " + a.host +
		" and does not find this server: TCP port 443 must lead to --listen"
	if a.settings.HTTP != nil {
		unreachable += ", or port 80 to --acme-http-listen"
	}
	unreachable += "; a proxy or load balancer in between must pass TLS through"
	refused := "the authority gives no certificate for " + a.host +
		": use another name in --public-url, or another authority with --acme-directory"
	do := map[string]string{
		acme.ProblemTypeConnection: unreachable,
		acme.ProblemTypeDNS: "the authority finds no address of " + a.host +
			" in the DNS: check the name in --public-url and its A and AAAA records",
		acme.ProblemTypeTLS:                     unreachable,
		acme.ProblemTypeUnauthorized:            unreachable,
		acme.ProblemTypeIncorrectResponse:       unreachable,
		acme.ProblemTypeCAA:                     "the CAA records of " + a.host + " allow only other authorities",
		acme.ProblemTypeRateLimited:             "the authority has received too many requests: it accepts more later",
		acme.ProblemTypeRejectedIdentifier:      refused,
		acme.ProblemTypeUnsupportedIdentifier:   refused,
		acme.ProblemTypeInvalidContact:          "the authority does not accept the address of --acme-email",
		acme.ProblemTypeUnsupportedContact:      "the authority does not accept the address of --acme-email",
		acme.ProblemTypeExternalAccountRequired: "the authority requires a customer account: set --acme-account",
		acme.ProblemTypeUserActionRequired:      "the authority requires you to act, for example to agree to new terms",
	}[p.Type]
	if account && p.Type == acme.ProblemTypeUnauthorized {
		do = "the authority does not accept the account of --acme-account"
	}
	if do == "" {
		do = "the authority refuses the request"
	}
	return fmt.Sprintf("%s (%s says: %s)", do, a.settings.Directory, detail)
}
