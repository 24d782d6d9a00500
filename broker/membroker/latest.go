package membroker

import (
	"bytes"
	"context"
	"encoding/binary"
	"hash/maphash"
	"math"

	"github.com/netra-systems/switchboard/broker"
	"github.com/netra-systems/switchboard/wire"
)

// A Latest record in its block is the millisecond when it expires, that when it was
// put, the length of its key, that of its data, all as uvarint, key and data. The
// block's first is the former again, times 65,536, plus a hash of the key: most are
// passed by without a look at their memory.

// newest is a decoded Latest record; key and data alias the block.
type newest struct {
	expires, at int64
	key, data   []byte
}

// appendNewest appends what comes before key and data.
func appendNewest(dst []byte, n newest, key, data int) []byte {
	dst = binary.AppendUvarint(dst, uint64(n.expires))
	dst = binary.AppendUvarint(dst, uint64(n.at))
	dst = binary.AppendUvarint(dst, uint64(key))
	return binary.AppendUvarint(dst, uint64(data))
}

// cutNewest decodes a record. It reports false for bytes that putLatest did not write.
func cutNewest(mem []byte) (n newest, ok bool) {
	var f [4]uint64
	for i := range f {
		v, size := binary.Uvarint(mem)
		if size <= 0 {
			return newest{}, false
		}
		f[i], mem = v, mem[size:]
	}
	room := uint64(len(mem))
	if f[0] > math.MaxInt64 || f[1] > math.MaxInt64 || f[2] > room || f[3] > room-f[2] {
		return newest{}, false
	}
	end := f[2] + f[3]
	return newest{int64(f[0]), int64(f[1]), mem[:f[2]:f[2]], mem[f[2]:end:end]}, true
}

// putLatest makes data the newest record of key in t. What has expired leaves,
// and the oldest keys while there are too many.
func (p *partition) putLatest(t *topic, slot uint32, key string, expires int64, data []byte, now int64) {
	p.sweepLatest(t, key, now)
	for t.latest.blocks >= broker.LatestKeys {
		p.dropLatest(t, t.latest.oldest)
	}
	var head [4 * binary.MaxVarintLen64]byte
	h := appendNewest(head[:0], newest{expires: expires, at: now}, len(key), len(data))
	r := p.pool.add(&t.latest, len(h)+len(key)+len(data))
	b, mem := p.pool.at(r)
	n := copy(mem, h)
	n += copy(mem[n:], key)
	b.used = uint32(n + copy(mem[n:], data))
	b.first, b.of = uint64(expires)<<16|p.hashOf(key), slot<<2|ofLatest
	p.enter(t.share, r)
}

// hashOf returns 16 bits.
func (p *partition) hashOf(key string) uint64 {
	return maphash.String(p.shared.seeds[0], key) & math.MaxUint16
}

// sweepLatest drops the record of key, if that is not empty, and those that have expired.
func (p *partition) sweepLatest(t *topic, key string, now int64) {
	hash := p.hashOf(key)
	for r := t.latest.oldest; r != 0; {
		b, mem := p.pool.at(r)
		next := b.next
		gone := now >= int64(b.first>>16)
		if !gone && b.first&math.MaxUint16 == hash {
			n, ok := cutNewest(mem[:b.used])
			gone = !ok || string(n.key) == key
		}
		if gone {
			p.dropLatest(t, r)
		}
		r = next
	}
}

// dropLatest frees one of the Latest records of t.
func (p *partition) dropLatest(t *topic, r ref) {
	p.leave(t.share, r)
	p.pool.drop(&t.latest, r)
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
	for r := t.latest.oldest; r != 0; {
		b, mem := p.pool.at(r)
		if n, ok := cutNewest(mem[:b.used]); ok && now < n.expires {
			out = append(out, broker.Entry{Topic: key, Class: wire.Latest, Key: string(n.key), At: p.shared.time(n.at), Data: bytes.Clone(n.data)})
		}
		r = b.next
	}
	return out
}
