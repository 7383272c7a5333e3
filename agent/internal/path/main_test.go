package path_test

import (
	"os"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	if role := os.Getenv(roleVariable); role != "" {
		os.Exit(runRole(role)) // this process is a program in a node of the lab
	}
	goleak.VerifyTestMain(m)
}
