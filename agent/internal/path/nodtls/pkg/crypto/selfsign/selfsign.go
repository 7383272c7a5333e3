// Package selfsign is empty. It exists because the tests of the libraries import it
// and go mod tidy follows their imports.
package selfsign
