package main

import (
	"fmt"
	"strings"

	qr "github.com/piglig/go-qr"
)

// quietZone is the empty border without which cameras do not find a code, in modules.
const quietZone = 4

// Black on white, whatever the colours of the terminal are: by numbers of the palette that
// themes leave alone.
const (
	inkOn  = "\x1b[38;5;16;48;5;231m"
	inkOff = "\x1b[0m"
)

// drawQR returns text as a QR code for a terminal, with two modules in each character.
func drawQR(text string) (string, error) {
	code, err := qr.EncodeText(text, qr.Medium)
	if err != nil {
		return "", fmt.Errorf("QR code: %w", err)
	}
	dark := func(x, y int) bool {
		return x >= 0 && y >= 0 && x < code.Size() && y < code.Size() && code.Module(x, y)
	}
	var b strings.Builder
	for y := -quietZone; y < code.Size()+quietZone; y += 2 {
		b.WriteString(inkOn)
		for x := -quietZone; x < code.Size()+quietZone; x++ {
			switch above, below := dark(x, y), dark(x, y+1); {
			case above && below:
				b.WriteRune('█')
			case above:
				b.WriteRune('▀')
			case below:
				b.WriteRune('▄')
			default:
				b.WriteByte(' ')
			}
		}
		b.WriteString(inkOff + "\n")
	}
	return b.String(), nil
}
