package membroker

import (
	"bytes"
	"context"
	"encoding/binary"
	"math"

	"github.com/netra-systems/switchboard/broker"
	"github.com/netra-systems/switchboard/wire"
)

// The Latest records of a topic are one block, rewritten by each of them: oldest
// first, each the millisecond when it expires, that when it was put, the length of
// its key, that of its data, all as uvarint, key and data.

// newest is a decoded Latest record; key and data alias the block.
type newest struct {
	expires, at int64
	key, data   []byte
}

func appendNewest(dst []byte, n newest) []byte {
	dst = binary.AppendUvarint(dst, uint64(n.expires))
	dst = binary.AppendUvarint(dst, uint64(n.at))
	dst = binary.AppendUvarint(dst, uint64(len(n.key)))
	dst = binary.AppendUvarint(dst, uint64(len(n.data)))
	return append(append(dst, n.key...), n.data...)
}

// cutNewest splits the first record off. It reports false for bytes that
// appendNewest did not write.
func cutNewest(mem []byte) (n newest, rest []byte, ok bool) {
	var f [4]uint64
	for i := range f {
		v, size := binary.Uvarint(mem)
		if size <= 0 {
			return newest{}, nil, false
		}
		f[i], mem = v, mem[size:]
	}
	room := uint64(len(mem))
	if f[0] > math.MaxInt64 || f[1] > math.MaxInt64 || f[2] > room || f[3] > room-f[2] {
		return newest{}, nil, false
	}
	end := f[2] + f[3]
	return newest{int64(f[0]), int64(f[1]), mem[:f[2]:f[2]], mem[f[2]:end:end]}, mem[end:], true
}

// putLatest makes data the newest record of key in t. What has expired leaves,
// and the oldest keys while there are too many.
func (p *partition) putLatest(t *topic, key string, expires int64, data []byte, now int64) {
	kept := p.keepLatest(t, key, now)
	p.scratch = appendNewest(p.scratch, newest{expires, now, []byte(key), data})
	encoded := p.scratch
	for ; kept >= broker.LatestKeys; kept-- {
		_, encoded, _ = cutNewest(encoded)
	}
	p.setLatest(t, encoded)
}

// keepLatest fills scratch with the records of t but those of key and those that
// have expired, and returns their number.
func (p *partition) keepLatest(t *topic, key string, now int64) (kept int) {
	if cap(p.scratch) > 2*maxBlock {
		p.scratch = nil
	}
	p.scratch = p.scratch[:0]
	if t.latest == 0 {
		return 0
	}
	b, mem := p.pool.at(t.latest)
	for rest := mem[:b.used]; len(rest) > 0; {
		n, next, ok := cutNewest(rest)
		if !ok {
			break
		}
		if string(n.key) != key && now < n.expires {
			p.scratch = append(p.scratch, rest[:len(rest)-len(next)]...)
			kept++
		}
		rest = next
	}
	return kept
}

// setLatest stores encoded records, which may be in scratch, as those of t.
func (p *partition) setLatest(t *topic, encoded []byte) {
	if t.latest != 0 {
		if _, mem := p.pool.at(t.latest); len(encoded) > len(mem) || 4*len(encoded) < len(mem) {
			p.pool.free(t.latest)
			t.latest = 0
		}
	}
	if t.latest == 0 && len(encoded) > 0 {
		t.latest = p.pool.alloc(len(encoded))
	}
	if t.latest != 0 {
		b, mem := p.pool.at(t.latest)
		b.used = uint32(copy(mem, encoded))
	}
}

// Latest returns the newest record of each key that has not expired.
func (b *Broker) Latest(ctx context.Context, key broker.Key) ([]broker.Entry, error) {
	if err := b.ready(ctx, "latest"); err != nil {
		return nil, err
	}
	p := b.shared.of(key)
	now := b.shared.now()
	p.mu.Lock()
	defer p.mu.Unlock()
	if slot := p.find(key); slot != 0 {
		return p.latest(key, p.records.at(slot), now), nil
	}
	return nil, nil
}

// latest returns the Latest records of t that have not expired.
func (p *partition) latest(key broker.Key, t *topic, now int64) (out []broker.Entry) {
	if t.latest == 0 {
		return nil
	}
	b, mem := p.pool.at(t.latest)
	for rest := mem[:b.used]; len(rest) > 0; {
		n, next, ok := cutNewest(rest)
		if !ok {
			break
		}
		if now < n.expires {
			out = append(out, broker.Entry{Topic: key, Class: wire.Latest, Key: string(n.key), At: p.shared.time(n.at), Data: bytes.Clone(n.data)})
		}
		rest = next
	}
	return out
}
