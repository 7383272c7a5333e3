// Package selfsign is here because go mod tidy follows the imports of the
// libraries' tests, which are not run here.
package selfsign
