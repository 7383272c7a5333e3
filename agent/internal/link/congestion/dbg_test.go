package congestion
import ("fmt";"testing";"time")
func TestDbg(t *testing.T){
 ms := time.Millisecond
 for _, d := range []time.Duration{10*ms, 20*ms} {
 s := newSimulation(path{50, 50 * ms, 0, 0, 1, d})
 c := New(packetBytes)
 f := s.start(c,0)
 g := s.start(newCubic(),0)
 last,lg:=0,0
 for i:=1;i<=24;i++{ s.runUntil(Time(i)*Time(5*time.Second)); fmt.Printf("%d: %5.1f %5.1f  bnd %v/%.0f wmax %.0f riv %v bw %.1f\n", i*5, f.rateSince(last,5*time.Second), g.rateSince(lg,5*time.Second), c.bounded, c.bound(s.now)/1250, c.wmax, c.rivalled, c.bandwidth()*8/1e6); last=f.delivered; lg=g.delivered }
 }
}
