package main

// A ledger gathers what must survive until the store takes it. It belongs to
// the aggregator's goroutine, so that keeping something costs an append and no
// I/O. Without a ledger a state forgets all when it ends.
type ledger struct {
	records []record
	replies []chan<- error
}

// keep notes a record for the store. When reply is not nil it must have
// capacity 1: it gets nil as soon as this record and those before it are on
// the disk, for good, or an error when that fails or takes longer than 5 s.
// Then what was changed holds for now, but is not sure to survive. A state
// that keeps nothing answers nil at once.
//
// An event of the Manager API thus changes the state, keeps the record with its
// own reply channel, and whoever sent it waits there:
//
//	st.announcements = append(st.announcements, a)
//	st.keep(announced(a), ev.reply)
func (st *state) keep(rec record, reply chan<- error) {
	if st.ledger == nil {
		if reply != nil {
			reply <- nil
		}
		return
	}
	st.ledger.records = append(st.ledger.records, rec)
	if reply != nil {
		st.ledger.replies = append(st.ledger.replies, reply)
	}
}
