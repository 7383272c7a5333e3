package guest

import (
	"encoding/json"
	"fmt"
	"net"
	"sync"
	"time"
)

// monitor is a client of the QEMU Machine Protocol. It runs one command at a time.
type monitor struct {
	mu   sync.Mutex
	conn net.Conn
	d    *json.Decoder
}

// monitorTimeout bounds the wait for an answer.
const monitorTimeout = 30 * time.Second

func newMonitor(c net.Conn) (*monitor, error) {
	m := &monitor{conn: c, d: json.NewDecoder(c)}
	var greeting map[string]json.RawMessage
	if err := m.d.Decode(&greeting); err != nil {
		return nil, fmt.Errorf("QEMU's monitor: %w", err)
	}
	_, err := m.do("qmp_capabilities", nil)
	return m, err
}

func (m *monitor) do(command string, arguments any) (json.RawMessage, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	request := map[string]any{"execute": command}
	if arguments != nil {
		request["arguments"] = arguments
	}
	if err := m.conn.SetDeadline(time.Now().Add(monitorTimeout)); err != nil {
		return nil, fmt.Errorf("QEMU's monitor: %w", err)
	}
	if err := json.NewEncoder(m.conn).Encode(request); err != nil {
		return nil, fmt.Errorf("QEMU's monitor: %s: %w", command, err)
	}
	for {
		var answer struct {
			Return json.RawMessage
			Error  *struct{ Desc string }
		}
		if err := m.d.Decode(&answer); err != nil {
			return nil, fmt.Errorf("QEMU's monitor: %s: %w", command, err)
		}
		if answer.Error != nil {
			return nil, fmt.Errorf("QEMU's monitor: %s: %s", command, answer.Error.Desc)
		}
		if answer.Return != nil { // otherwise it is an event
			return answer.Return, nil
		}
	}
}

func (m *monitor) close() error { return m.conn.Close() }
