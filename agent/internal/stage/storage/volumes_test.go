package storage

import "testing"

func FuzzVolumes(f *testing.F) {
	b := make([]byte, 4096)
	b[510], b[511], b[450], b[455], b[459] = 0x55, 0xaa, 0x83, 8, 8
	f.Add(b, uint64(1<<20))
	copy(b[512:], "EFI PART")
	b[1024], b[1057], b[1066] = 1, 8, 8
	f.Add(b, uint64(1<<20))
	f.Fuzz(func(t *testing.T, b []byte, blocks uint64) {
		list := volumes(b, blocks)
		if len(list) > maxVolumes {
			t.Fatalf("%d volumes", len(list))
		}
		for _, e := range list {
			if e.count == 0 || e.end() > blocks || e.end() < e.first {
				t.Fatalf("%v on a disk of %d blocks", e, blocks)
			}
			u := &unit{blockSize: 512, blocks: blocks, volumes: list}
			if first, ok := u.fromEnd(e, signatureEnds[0]); ok {
				for _, place := range u.signatures(first) {
					if place.end() > blocks+pageBytes/512 {
						t.Fatalf("%v reads %v of %d blocks", e, place, blocks)
					}
				}
			}
		}
	})
}
