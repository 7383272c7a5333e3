package isochronous

import (
	"time"

	"github.com/easyfind-usb/easyfind/agent/internal/usb"
	"github.com/easyfind-usb/easyfind/proto/tunnel"
)

// player is the part of a hostStream that writes to an OUT endpoint. Its URBs go round:
// each one that completes takes the next packets.
//
//	filling ──holds enough──► playing
//	   ▲                         │
//	   └───── holds nothing ─────┘
//
// While it is filling, the device gets silence, except before the first packet: then it
// gets nothing.
type player struct {
	stream  *hostStream
	blocks  decoder
	packets buffer
	next    uint64 // the packet to play
	begun   bool   // next is known
	playing bool   // URBs are posted
	posted  int    // at the device
	filling bool
	length  int // of the last packet that was played

	elapsed  uint64 // packets that the device has finished
	margin   int32  // lowest number of packets that were left, since the last report
	reported time.Time
	surplus  int // reports in a row with a margin above surplusDepth

	late, missing, errors uint32
}

// add adds packets of the client.
func (p *player) add(b tunnel.IsoBlock) {
	if !p.begun || !p.playing && b.First < p.next {
		p.begun, p.next = true, b.First
	}
	for i, q := range b.Packets {
		number := b.First + uint64(i)
		if number < p.next {
			p.late++
			continue
		}
		p.packets.put(number, p.next, q)
	}
	if !p.playing && p.holds(fillDepth) {
		p.start()
	}
}

// held returns the number of packets until the last one that has arrived.
func (p *player) held() uint64 {
	if len(p.packets.packets) == 0 {
		return 0
	}
	return p.packets.end - p.next
}

// holds reports whether it holds packets for as long as d.
func (p *player) holds(d time.Duration) bool {
	return time.Duration(len(p.packets.packets))*p.stream.interval >= d
}

// played handles an URB that the device has finished.
func (p *player) played(u *usb.URB, now time.Time) {
	p.elapsed += uint64(len(u.Packets))
	for _, q := range u.Packets {
		if q.Status != usb.StatusOK {
			p.errors++
		}
	}
	p.posted--
	if p.stream.draining && p.held() == 0 {
		if p.posted == 0 {
			p.stream.end(streamEnd{number: p.stream.number})
		}
		return
	}
	p.post(u)
	if now.Sub(p.reported) >= reportInterval {
		p.report(now)
	}
}

// report sends the client a report, which belongs to this moment.
func (p *player) report(now time.Time) {
	st := p.stream
	r := tunnel.IsoReport{
		Stream: st.number, Elapsed: p.elapsed, Margin: p.margin, Loss: share(p.blocks.loss),
		Late: p.late, Lost: max(p.missing, p.late) - p.late, Recovered: uint32(p.blocks.recovered), Errors: p.errors,
	}
	if time.Duration(p.margin)*st.interval > surplusDepth {
		p.surplus++
	} else {
		p.surplus = 0
	}
	if p.surplus >= surplusReports {
		p.surplus = 0
		p.catchUp()
	}
	p.reported, p.margin = now, int32(min(p.held(), maxKept))
	st.host.cast(uint8(st.endpoint), tunnel.KindIsoReport, r.Encode())
}

// post hands the device an URB with the next packets.
func (p *player) post(u *usb.URB) {
	u.Data = u.Data[:0]
	for i := range u.Packets {
		data := p.take()
		u.Packets[i] = usb.IsoPacket{Offset: uint32(len(u.Data)), Length: uint32(len(data))}
		u.Data = append(u.Data, data...)
	}
	p.margin = min(p.margin, int32(min(p.held(), maxKept)))
	p.posted++
	p.stream.host.box.Submit(u)
}

// drain prepares for the end of the stream: no more packets are expected. It returns false
// if there is nothing to play.
func (p *player) drain() bool {
	if !p.playing && p.held() > 0 {
		p.start()
	}
	return p.posted > 0
}

// start posts the first URBs.
func (p *player) start() {
	p.playing, p.filling = true, false
	for range p.stream.posted(aheadTime) {
		p.post(p.stream.newURB())
	}
}

// take returns the data of the next packet, or silence.
func (p *player) take() []byte {
	if p.filling && (p.stream.draining || p.holds(refillDepth)) && p.held() > 0 {
		p.filling = false
		p.catchUp()
	}
	if !p.filling && p.held() == 0 {
		p.filling = true
	}
	if p.filling {
		p.margin = min(p.margin, 0)
		return p.silence()
	}
	q, ok := p.packets.take(p.next)
	p.next++
	if !ok {
		p.missing++
		return p.silence()
	}
	if len(q.Data) > tunnel.MaxIsoRoom {
		p.errors++
		return p.silence()
	}
	p.length = len(q.Data)
	return q.Data
}

// catchUp skips the packets that the device cannot get in time any more.
func (p *player) catchUp() {
	from := p.next
	if _, ok := p.packets.packets[p.next]; !ok { // after a long gap
		p.next = p.first()
	}
	if most := uint64(highestDepth / p.stream.interval); p.held() > most {
		p.next = p.packets.end - uint64(fillDepth/p.stream.interval)
	}
	p.packets.drop(p.next)
	p.missing += uint32(p.next - from)
}

// first returns the number of the first packet that it holds.
func (p *player) first() uint64 {
	first := p.packets.end
	for number := range p.packets.packets {
		first = min(first, number)
	}
	return first
}

// silence returns a packet of silence: zeros for audio, otherwise nothing.
func (p *player) silence() []byte {
	if !p.stream.audio {
		return nil
	}
	return make([]byte, p.length)
}
