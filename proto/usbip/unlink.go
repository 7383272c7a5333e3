package usbip

// CmdUnlink cancels a submitted URB (USBIP_CMD_UNLINK):
//
//	header 20 │ unlink_seqnum 4 │ padding 24
type CmdUnlink struct {
	Header
	Unlink uint32 // Seq of the CmdSubmit to cancel
}

func (*CmdUnlink) command() {}

// AppendTo appends the message to b.
func (m *CmdUnlink) AppendTo(b []byte) []byte {
	return m.Header.appendPadded(b, codeCmdUnlink, m.Unlink)
}

// RetUnlink is the reply to a CmdUnlink (USBIP_RET_UNLINK):
//
//	header 20 │ status 4 │ padding 24
type RetUnlink struct {
	Header
	// Status is -ECONNRESET if the URB was cancelled; then no RetSubmit follows.
	// It is 0 if the RetSubmit of the URB was sent before.
	Status int32
}

func (*RetUnlink) reply() {}

// AppendTo appends the message to b.
func (m *RetUnlink) AppendTo(b []byte) []byte {
	return Header{Seq: m.Seq}.appendPadded(b, codeRetUnlink, uint32(m.Status))
}
