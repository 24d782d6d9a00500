package runs

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"strings"

	"github.com/netra-systems/switchboard/wire"
)

// The lengths of ids, chosen so that the id of a stream is an id: 64 + 1 + 63 bytes.
const (
	maxRunIDBytes      = 64
	maxStreamNameBytes = 63
)

// CheckRunID checks the id of a run: 1 to 64 bytes, without "/", and else as any id. The
// error is a sentence without its subject, as of [wire.CheckID].
func CheckRunID(id string) error { return checkPart(id, maxRunIDBytes) }

// CheckStreamName checks the name of a text stream: 1 to 63 bytes, without "/", and else as
// any id. The error is a sentence without its subject, as of [wire.CheckID].
func CheckStreamName(name string) error { return checkPart(name, maxStreamNameBytes) }

func checkPart(s string, most int) error {
	if len(s) > most {
		return fmt.Errorf("must have at most %d bytes", most)
	}
	if strings.Contains(s, "/") {
		return fmt.Errorf(`must not contain "/"`)
	}
	return wire.CheckID(s)
}

// StreamID is the id of the text stream of that name, of a run.
func StreamID(run, name string) string { return run + "/" + name }

// DerivedID is the id of the run that a message starts: the same whenever it is handled
// again, and another for each tenant, topic, user who sent it, and message id.
func DerivedID(topic wire.Topic, user, message string) string {
	hash := sha256.New()
	for _, part := range []string{topic.Tenant, topic.Kind.String(), topic.ID, user, message} {
		var length [8]byte // so that no two lists of parts are the same bytes
		binary.BigEndian.PutUint64(length[:], uint64(len(part)))
		hash.Write(length[:])
		hash.Write([]byte(part))
	}
	return "r_" + hex.EncodeToString(hash.Sum(nil)[:10])
}
