package demo

import "fmt"

// story is the report of a demo: text for a person and findings for programs.
type story struct {
	*narrator
	found Findings
}

// check records the result of a check. It returns an error if the check failed;
// otherwise and args then describe the failure.
func (s *story) check(what string, ok bool, otherwise string, args ...any) error {
	c := Check{What: what, OK: ok}
	if !ok {
		c.Detail = fmt.Sprintf(otherwise, args...)
	}
	s.found.Checks = append(s.found.Checks, c)
	if !ok {
		return fmt.Errorf("%s: no: %s", what, c.Detail)
	}
	return nil
}
