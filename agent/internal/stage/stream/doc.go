// Package stream chooses bulk endpoints for package ahead.
//
// [Serial] chooses the receiving endpoints of serial adapters. Their drivers keep bulk IN
// transfers posted while a port is open, 2 of them in most drivers of Linux (usb-serial).
// At a distance these hold too little, and the adapter loses what the line receives. So
// to post more has no effect on the adapter that its driver does not have. Writes are
// unchanged: a write has completed when the adapter has taken it, so tcdrain is true.
//
// [Exchange] chooses protocols in which a response answers every request, so that the
// request may be answered early:
//
//   - CCID smart card readers: a PC_to_RDR message is followed by an RDR_to_PC message
//     with the same bSeq (CCID 1.1, 4.1, 6.1).
//   - Android Debug Bridge: every WRITE is answered by OKAY or CLOSE (AOSP, protocol.txt).
//   - Fastboot: every command is answered by OKAY, FAIL, DATA or INFO (AOSP, README.md of
//     fastboot).
//
// Other devices are left alone. A printer answers nothing. A device with the Picture
// Transfer Protocol, of which MTP is a kind, has a response for each transaction, but a
// cancelled transaction leaves data in flight that the device would take for the next
// command. Both keep several transfers in flight by themselves.
package stream
