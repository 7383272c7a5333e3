// Package backend implements the local API: it translates its requests into calls of
// the parts of the agent, and their errors into problems for a person.
package backend
