package stagetest

import "encoding/binary"

// inquire returns the answer to INQUIRY, or nil if the disk refuses it.
func (m *medium) inquire(block []byte) []byte {
	limit := int(binary.BigEndian.Uint16(block[3:]))
	data := make([]byte, 36)
	data[0], data[4] = m.cfg.Type, 31
	if block[1]&1 != 0 {
		data = m.page(block[2])
	}
	return data[:min(len(data), limit)]
}

// page returns a page of vital product data, or nil.
func (m *medium) page(number byte) []byte {
	content := map[byte][]byte{
		0x00: {0x00, 0x80, 0x83, 0xb0, 0xb2}, 0x80: []byte("0123456789ab"),
		0x83: {1, 3, 0, 8, 0x50, 0, 0, 0, 0, 0, 0, 1}, 0xb0: make([]byte, 60), 0xb2: {0, 0x80, 0, 0},
	}[number]
	if content == nil || !m.cfg.Pages {
		return nil
	}
	return append([]byte{m.cfg.Type, number, 0, byte(len(content))}, content...)
}

// other returns the answers to commands that few disks know. It returns nil if the disk
// does not know it.
func (m *medium) other(block []byte) []byte {
	limit := int(binary.BigEndian.Uint16(block[7:]))
	var data []byte
	switch op := block[0]; {
	case op == 0x23 && m.cfg.Type == 0: // READ FORMAT CAPACITIES
		data = binary.BigEndian.AppendUint32([]byte{0, 0, 0, 8}, uint32(min(m.cfg.Blocks, 1<<32-1)))
		data = append(data, 2, 0, byte(m.cfg.BlockSize>>8), byte(m.cfg.BlockSize))
	case op == 0xa0 && m.cfg.Pages: // REPORT LUNS
		data = []byte{0, 0, 0, 8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}
		limit = int(binary.BigEndian.Uint32(block[6:]))
	case op == 0x46 && m.cfg.Type == 5: // GET CONFIGURATION
		data = []byte{0, 0, 0, 4, 0, 0, 0, 8}
	case op == 0x4a && m.cfg.Type == 5: // GET EVENT STATUS NOTIFICATION
		data = []byte{0, 6, 4, 0x10, 0, 2, 0, 0}
	case op == 0x43 && m.cfg.Type == 5: // READ TOC
		data = []byte{0, 10, 1, 1, 0, 0x14, 1, 0, 0, 0, 2, 0}
	case op == 0xf0 && m.cfg.Pages: // a vendor command
		data = block[:6]
		limit = len(data)
	}
	return data[:min(len(data), limit)]
}

// unmap clears the blocks that the parameters of an UNMAP list.
func (m *medium) unmap(unit uint8, list []byte) {
	for at := 8; at+16 <= len(list); at += 16 {
		first, count := binary.BigEndian.Uint64(list[at:]), uint64(binary.BigEndian.Uint32(list[at+8:]))
		for i := range min(count, 1<<16) {
			m.written[place{unit, first + i}] = make([]byte, m.cfg.BlockSize)
		}
	}
}
