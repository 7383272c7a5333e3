package registry

import "time"

// Pool holds figures of a database's connection pool.
type Pool struct {
	InUse, Idle, Max int
	Waits            int64         // times that a caller waited for a connection, since the start
	Waited           time.Duration // total time that callers waited, since the start
}
