package usbip

import (
	"bytes"
	"io"
)

// ReqImport requests one device (OP_REQ_IMPORT):
//
//	busid 32
type ReqImport struct{ BusID string } // at most 31 bytes

func (*ReqImport) request() {}

// AppendTo appends the message to b.
func (m *ReqImport) AppendTo(b []byte) []byte {
	var id [maxBusID]byte
	copy(id[:maxBusID-1], m.BusID)
	return append(appendOp(b, opRequest|opImport, 0), id[:]...)
}

func readReqImport(r io.Reader) (*ReqImport, error) {
	b, err := readRest(r, maxBusID)
	if err != nil {
		return nil, err
	}
	id, _, ok := bytes.Cut(b, []byte{0})
	if !ok {
		return nil, malformed("bus ID without a final zero")
	}
	return &ReqImport{BusID: string(id)}, nil
}

// RepImport is the reply to ReqImport (OP_REP_IMPORT):
//
//	Device 312, only if the status is StatusOK
type RepImport struct {
	Status Status // in the header of the operation
	Device Device
}

// AppendTo appends the message to b.
func (m *RepImport) AppendTo(b []byte) []byte {
	b = appendOp(b, opImport, m.Status)
	if m.Status == StatusOK {
		b = m.Device.appendTo(b)
	}
	return b
}

// ReadRepImport reads the reply to a ReqImport. A status other than StatusOK is
// not an error. Errors wrap ErrMalformed or the error of r.
func ReadRepImport(r io.Reader) (*RepImport, error) {
	status, err := readReply(r, opImport)
	if err != nil || status != StatusOK {
		return &RepImport{Status: status}, err
	}
	b, err := readRest(r, deviceSize)
	if err != nil {
		return nil, err
	}
	d, err := parseDevice(b)
	return &RepImport{Device: d}, err
}
