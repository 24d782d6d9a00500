package session

import "iter"

// MaxLineage bounds a [Lineage], in sessions: as many times a session can come of another by a
// ticket. Then a credential has to be shown.
const MaxLineage = 16

const sessionBytes = len(Token{}.Session)

// Lineage names the sessions of which another came by tickets, over all generations: if one of
// them is revoked, so is what came of it. The zero value is none, as most sessions have. It is
// the ids one behind the other, in a string because nobody changes one that others have as well.
type Lineage string

// ParseLineage reads what is in a Lineage. It is false if that is not one, or longer than [MaxLineage].
func ParseLineage(ids []byte) (l Lineage, ok bool) {
	if len(ids)%sessionBytes != 0 || len(ids) > MaxLineage*sessionBytes {
		return "", false
	}
	return Lineage(ids), true
}

// And is l with one session more, unless that is in it already: a ticket may come back to the
// session that it was made by. It is false if there is no room.
func (l Lineage) And(id [12]byte) (more Lineage, ok bool) {
	for one := range l.All() {
		if one == id {
			return l, true
		}
	}
	if len(l) >= MaxLineage*sessionBytes {
		return l, false
	}
	return l + Lineage(id[:]), true
}

// All yields the sessions.
func (l Lineage) All() iter.Seq[[12]byte] {
	return func(yield func([12]byte) bool) {
		for rest := l; rest != ""; rest = rest[sessionBytes:] {
			if !yield([12]byte([]byte(rest[:sessionBytes]))) {
				return
			}
		}
	}
}
