package sqlitestore

// The stores of a database, one for each noun. The interfaces that they implement
// hold their contract.
type (
	// Peers keeps the registered peers.
	Peers struct{ db *DB }
	// AllowList keeps the permissions to find and signal.
	AllowList struct{ db *DB }
	// Invites keeps the invites.
	Invites struct{ db *DB }
	// Approvals keeps the peers that may register once without an invite.
	Approvals struct{ db *DB }
	// JoinRequests keeps the peers that tried to register without an invite.
	JoinRequests struct{ db *DB }
	// Revocations removes peers, and keeps those that may not come back.
	Revocations struct{ db *DB }
	// Mailboxes keeps the pairing mailboxes.
	Mailboxes struct{ db *DB }
	// Administration keeps administrators' tokens, sign-ins and the one-time link.
	Administration struct{ db *DB }
	// Audit keeps the audit log.
	Audit struct{ db *DB }
	// Leases keeps the leases of the instances.
	Leases struct{ db *DB }
	// Presence keeps the connections of peers.
	Presence struct{ db *DB }
	// Links keeps the link reports of peers.
	Links struct{ db *DB }
	// History keeps figures by the minute and relayed bytes by the day.
	History struct{ db *DB }
	// Blobs keeps small values.
	Blobs struct{ db *DB }
	// Locks keeps locks.
	Locks struct{ db *DB }
)

// Peers returns the store of peers.
func (db *DB) Peers() Peers { return Peers{db} }

// AllowList returns the store of permissions.
func (db *DB) AllowList() AllowList { return AllowList{db} }

// Invites returns the store of invites.
func (db *DB) Invites() Invites { return Invites{db} }

// Approvals returns the store of approvals.
func (db *DB) Approvals() Approvals { return Approvals{db} }

// JoinRequests returns the store of join requests.
func (db *DB) JoinRequests() JoinRequests { return JoinRequests{db} }

// Revocations returns the store of revocations.
func (db *DB) Revocations() Revocations { return Revocations{db} }

// Mailboxes returns the store of mailboxes.
func (db *DB) Mailboxes() Mailboxes { return Mailboxes{db} }

// Administration returns the store of administrators' tokens.
func (db *DB) Administration() Administration { return Administration{db} }

// Audit returns the store of the audit log.
func (db *DB) Audit() Audit { return Audit{db} }

// Leases returns the store of leases.
func (db *DB) Leases() Leases { return Leases{db} }

// Presence returns the store of connections.
func (db *DB) Presence() Presence { return Presence{db} }

// Links returns the store of link reports.
func (db *DB) Links() Links { return Links{db} }

// History returns the store of figures.
func (db *DB) History() History { return History{db} }

// Blobs returns the store of small values.
func (db *DB) Blobs() Blobs { return Blobs{db} }

// Locks returns the store of locks.
func (db *DB) Locks() Locks { return Locks{db} }
