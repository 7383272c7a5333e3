package main

import (
	"fmt"
	"strconv"
	"strings"
)

// bitRate is a rate in bits per second, 0 for none. People write it as "20 Mbit/s".
type bitRate uint64

const (
	leastBitRate bitRate = 64e3
	mostBitRate  bitRate = 1e12
)

// bitRateUnits are the units in lower case, with "bit/s" cut off the end.
var bitRateUnits = map[string]float64{"": 1, "k": 1e3, "m": 1e6, "g": 1e9}

// UnmarshalText reads a number with a unit: kbit/s, Mbit/s or Gbit/s, perhaps without "bit/s" or "/s". "none" is 0.
func (b *bitRate) UnmarshalText(text []byte) error {
	s := strings.ToLower(strings.ReplaceAll(string(text), " ", ""))
	if s == "none" {
		*b = 0
		return nil
	}
	number := strings.TrimRight(s, "abcdefghijklmnopqrstuvwxyz/")
	unit := strings.TrimSuffix(strings.TrimSuffix(s[len(number):], "/s"), "bit")
	n, err := strconv.ParseFloat(number, 64)
	factor, known := bitRateUnits[unit]
	if err != nil || !known || s == number {
		return fmt.Errorf("%.40q is not a rate: write it as 20Mbit/s or 500kbit/s, or none", text)
	}
	if n *= factor; !(n >= float64(leastBitRate) && n <= float64(mostBitRate)) {
		return fmt.Errorf("%.40q is not between %s and %s", text, leastBitRate, mostBitRate)
	}
	*b = bitRate(n)
	return nil
}

// String returns the rate for people.
func (b bitRate) String() string {
	switch {
	case b == 0:
		return "none"
	case b < 1e6:
		return formatRate(b, 1e3) + " kbit/s"
	case b < 1e9:
		return formatRate(b, 1e6) + " Mbit/s"
	}
	return formatRate(b, 1e9) + " Gbit/s"
}

func formatRate(b bitRate, unit float64) string {
	return strconv.FormatFloat(float64(b)/unit, 'f', -1, 64)
}

// atMost returns ", at most 20 Mbit/s", or nothing without a limit.
func atMost(limit uint64) string {
	if limit == 0 {
		return ""
	}
	return ", at most " + bitRate(limit).String()
}
