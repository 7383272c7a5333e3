//go:build !race

package linktest

// RaceDetector reports whether the detector of data races is on. With it, sync.Pool drops values
// at random.
const RaceDetector = false
