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
)

// explain says in a sentence why there is no certificate, and what to do.
func (a *authority) explain(err error) string {
	var problem acme.Problem
	var network *net.OpError
	var request *url.Error
	var unknown x509.UnknownAuthorityError
	var name x509.HostnameError
	var syntax *json.SyntaxError
	switch {
	case errors.As(err, &problem):
		return a.explainProblem(problem, strings.Contains(err.Error(), "registering account"))
	case errors.Is(err, registry.ErrFenced):
		return "another instance has taken over: its certificate is waited for"
	case errors.Is(err, registry.ErrUnavailable), a.storage.down.Load():
		return fmt.Sprintf("the database cannot be used: %v", err)
	case errors.As(err, &unknown):
		return fmt.Sprintf("nobody that this machine trusts vouches for %s: set --acme-ca to the file of the root certificate of its operator (%v)", a.settings.Directory, unknown)
	case errors.As(err, &name):
		return fmt.Sprintf("%s is not who it says it is: check --acme-directory (%v)", a.settings.Directory, name)
	case errors.As(err, &network), errors.As(err, &request):
		return fmt.Sprintf("%s cannot be reached: check --acme-directory, and that this machine may call out (%v)", a.settings.Directory, err)
	case errors.As(err, &syntax), strings.Contains(err.Error(), "provisioning client"):
		return fmt.Sprintf("%s is no ACME directory: check --acme-directory (%v)", a.settings.Directory, err)
	}
	return err.Error()
}

// explainProblem says what an authority's answer means here (RFC 8555 section
// 6.7), to the question for an account or for a certificate.
func (a *authority) explainProblem(p acme.Problem, account bool) string {
	detail := p.Detail
	for _, sub := range p.Subproblems {
		detail += "; " + sub.Detail
	}
	missed := "the authority connects to " + a.host + " and does not find this server: TCP port 443 must lead to --listen"
	if a.settings.HTTP != nil {
		missed += ", or port 80 to --acme-http-listen"
	}
	missed += "; a proxy or load balancer between must pass TLS on"
	do := map[string]string{
		acme.ProblemTypeConnection:              missed,
		acme.ProblemTypeDNS:                     "the authority finds no address of " + a.host + " in the DNS: check the name in --public-url and its A and AAAA records",
		acme.ProblemTypeTLS:                     missed,
		acme.ProblemTypeUnauthorized:            missed,
		acme.ProblemTypeIncorrectResponse:       missed,
		acme.ProblemTypeCAA:                     "the CAA records of " + a.host + " in the DNS allow other authorities only",
		acme.ProblemTypeRateLimited:             "the authority has been asked too often",
		acme.ProblemTypeRejectedIdentifier:      "the authority gives no certificate for " + a.host + ": use another name in --public-url, or another authority with --acme-directory",
		acme.ProblemTypeUnsupportedIdentifier:   "the authority gives no certificate for " + a.host + ": use a name in --public-url, or another authority with --acme-directory",
		acme.ProblemTypeInvalidContact:          "the authority does not take the address of --acme-email",
		acme.ProblemTypeUnsupportedContact:      "the authority does not take the address of --acme-email",
		acme.ProblemTypeExternalAccountRequired: "the authority wants an account that you have with it: set --acme-account",
		acme.ProblemTypeUserActionRequired:      "the authority wants something of you, such as to agree to new terms",
	}[p.Type]
	if account && p.Type == acme.ProblemTypeUnauthorized {
		do = "the authority does not take the account of --acme-account"
	}
	if do == "" {
		do = "the authority refuses"
	}
	return fmt.Sprintf("%s (%s says: %s)", do, a.settings.Directory, detail)
}
