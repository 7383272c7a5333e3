package path_test

import (
	"os"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	if role := os.Getenv(roleVariable); role != "" {
		os.Exit(play(role)) // a process of its own, in a node of the lab
	}
	goleak.VerifyTestMain(m)
}
