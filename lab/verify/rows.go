package verify

// Row is one kind of failure, and where it is tried: by faults of verify, in every
// round, or by tests; or why it is not tried.
type Row struct {
	Number int
	Says   string
	Faults []string // of verify
	Always string   // the part of every round that tries it
	Tests  []string // package and name of tests
	NotRun string
}

// Rows is the whole catalogue.
var Rows = []Row{
	{Number: 1, Says: "a server is killed", Faults: []string{"kill-leader", "kill-follower"}},
	{Number: 2, Says: "a crash after a page was read", Faults: []string{"kill-leader"}, Tests: []string{"store TestMoveInterrupted", "listener TestLeaderProcess"}},
	{Number: 3, Says: "a crash in the middle of a fan-out", Faults: []string{"kill-leader", "kill-follower"}},
	{Number: 4, Says: "a crash after a write to a socket", Faults: []string{"kill-leader", "kill-follower"}},
	{Number: 5, Says: "a connection that ends while it is made", Faults: []string{"client-flap"}, Tests: []string{"httpapi TestUpgradeRacesDrain"}},
	{Number: 6, Says: "a crash within a migration", Tests: []string{"migrations TestInterruptedUp"}},
	{Number: 7, Says: "a server is frozen", Faults: []string{"stop-leader", "stop-follower"}},
	{Number: 8, Says: "SIGTERM under many connections", Faults: []string{"term-leader", "term-follower"}, Tests: []string{"httpapi TestDrain"}},
	{Number: 9, Says: "SIGKILL half-way through a drain", Faults: []string{"kill-in-drain"}},
	{Number: 10, Says: "two versions at once", Tests: []string{"lab/upgrade TestTwoVersions"}},
	{Number: 11, Says: "a memory limit is reached", NotRun: "it needs a cgroup of its own; verify checks a bound on the memory of every server instead"},
	{Number: 12, Says: "out of file descriptors", Faults: []string{"out-of-files"}},
	{Number: 13, Says: "a panic of one connection", Tests: []string{"httpapi TestPanicCostsOneConnection"}},
	{Number: 14, Says: "a server is starved of processor time", Faults: []string{"starve-leader"}},
	{Number: 15, Says: "the sink of the log is blocked", Faults: []string{"log-blocked"}, Tests: []string{"cmd/taskfeed TestSinkThatIsBlocked"}},
	{Number: 16, Says: "a fast restart of Postgres", Faults: []string{"pg-restart"}},
	{Number: 17, Says: "an immediate stop of Postgres", Faults: []string{"pg-immediate"}},
	{Number: 18, Says: "kill -9 of the postmaster or a backend", Faults: []string{"pg-kill-postmaster", "pg-kill-backend", "pg-kill-listener"}},
	{Number: 19, Says: "the listening backend is terminated", Faults: []string{"pg-terminate-listener"}},
	{Number: 20, Says: "queries are cancelled", Faults: []string{"pg-cancel"}},
	{Number: 21, Says: "all our backends are killed again and again", Faults: []string{"pg-terminate-all"}},
	{Number: 22, Says: "the listening backend is frozen", Faults: []string{"pg-freeze-listener"}},
	{Number: 23, Says: "nothing passes to or from the database", Faults: []string{"db-blackhole", "db-blackhole-up", "db-blackhole-down"}},
	{Number: 24, Says: "resets of connections to the database", Faults: []string{"db-reset", "db-cut"}},
	{Number: 25, Says: "a slow link to the database", Faults: []string{"db-slow"}},
	{Number: 26, Says: "bytes come one to five at a time", Faults: []string{"db-slice", "net-slice"}},
	{Number: 27, Says: "all NOTIFYs are lost", Faults: []string{"notify-off"}, Tests: []string{"listener TestLostRings"}},
	{Number: 28, Says: "LISTEN is lost silently", Tests: []string{"listener TestLostRings", "store TestCheckListen"}},
	{Number: 29, Says: "a flood of forged NOTIFYs", Faults: []string{"notify-flood"}, Tests: []string{"listener TestForgedRings"}},
	{Number: 30, Says: "a session keeps the NOTIFY queue from being emptied", Faults: []string{"notify-queue"}},
	{Number: 31, Says: "Postgres has no connection left", Faults: []string{"pg-full"}},
	{Number: 32, Says: "the pool is exhausted", Tests: []string{"hub TestReadsOfTheLogAreBounded"}},
	{Number: 33, Says: "the log is locked", Faults: []string{"events-lock"}, Tests: []string{"store TestMaintainGivesUpOnLocks"}},
	{Number: 34, Says: "transactions commit in another order than they wrote", Always: "the writers' mix", Faults: []string{"long-transaction"}, Tests: []string{"store TestSequencerModel"}},
	{Number: 35, Says: "a long transaction", Faults: []string{"long-transaction"}, Tests: []string{"store TestLongTransaction"}},
	{Number: 36, Says: "prepared transactions", Faults: []string{"prepared-transaction"}, Tests: []string{"migrations TestTwoPhaseCommit"}},
	{Number: 37, Says: "rollbacks, savepoints and refused changes", Always: "the writers' mix", Tests: []string{"migrations TestTransactions", "migrations TestWritersNeverWait"}},
	{Number: 38, Says: "the disk under the data is full", Faults: []string{"disk-full"}},
	{Number: 39, Says: "the disk under the write-ahead log is full", NotRun: "the cluster would need a disk of its own from its start; Postgres then stops and recovers as in pg-immediate"},
	{Number: 40, Says: "commits that did not wait for the disk are lost", Faults: []string{"pg-async"}, Tests: []string{"store TestMoveFlushesWhatTheAppDidNot"}},
	{Number: 41, Says: "failover to a standby that lags", Faults: []string{"failover"}, Tests: []string{"store TestTakeOverAfterPromotion"}},
	{Number: 42, Says: "an older backup is restored", Faults: []string{"restore"}},
	{Number: 43, Says: "the database is read-only", Faults: []string{"read-only"}},
	{Number: 44, Says: "retention during replay", Faults: []string{"retention"}, Tests: []string{"store TestAfterDuringRetention", "hub TestRetentionOvertakesAReplay"}},
	{Number: 45, Says: "tables are rewritten under load", Faults: []string{"vacuum-full"}},
	{Number: 46, Says: "the clock of Postgres jumps", NotRun: "it needs libfaketime under Postgres; no order depends on a clock"},
	{Number: 47, Says: "the clock of a server jumps", Tests: []string{"httpapi/feeds TestKeepalive", "auth TestBadInput56ExpiryBoundary"}},
	{Number: 48, Says: "the database refuses the servers' connections", Faults: []string{"pg-refuse"}},
	{Number: 49, Says: "a client stops reading", Faults: []string{"client-stall"}, Tests: []string{"httpapi TestSlowReader"}},
	{Number: 50, Says: "a client reads a byte a second", Faults: []string{"client-crawl", "net-crawl"}},
	{Number: 51, Says: "a client vanishes", Faults: []string{"client-vanish", "net-blackhole", "net-blackhole-up", "net-blackhole-down"}, Tests: []string{"httpapi TestDeadConnection"}},
	{Number: 52, Says: "connections of clients are reset or cut", Faults: []string{"net-reset", "net-cut", "client-flap"}},
	{Number: 53, Says: "all clients connect again at once", Faults: []string{"storm"}},
	{Number: 54, Says: "clients that come and go", Faults: []string{"client-flap"}, Always: "clients that stay for seconds"},
	{Number: 55, Says: "one user with very many connections", Tests: []string{"hub TestReserveKeepsTheLimits", "hub TestConnectionsShareFrames"}},
	{Number: 56, Says: "a giant backlog", Always: "clients that ask for everything each time", Tests: []string{"store TestMoveBacklogIsLinear", "hub TestLargeBatchComesInPages"}},
	{Number: 57, Says: "a proxy that ends idle connections", Tests: []string{"client TestPings"}},
	{Number: 58, Says: "one server alone is cut off from the database", Faults: []string{"db-blackhole"}},
	{Number: 59, Says: "the issuer's keys are unavailable or change", Tests: []string{"auth TestKeySetStaleWhileDown", "auth TestKeySetRotation"}},
	{Number: 60, Says: "changes that triggers do not see, and COPY", Tests: []string{"migrations TestEventTable", "migrations TestCopy"}},
	{Number: 61, Says: "ids near their limits", Tests: []string{"client TestVectors", "httpapi TestBadInput25Cursor"}},
	{Number: 62, Says: "an old snapshot over millions of dead rows", Faults: []string{"old-snapshot"}},
	{Number: 63, Says: "everything at once", Always: "the mixed part of a round"},
	{Number: 64, Says: "the mapping of an attached table fails", Faults: []string{"source-broken"}, Tests: []string{"store TestFoldBrokenMapping", "migrations TestAttachedTableNeverFailsAWrite"}},
	{Number: 65, Says: "an attached table is detached and attached again", Faults: []string{"source-detached"}, Tests: []string{"store TestFoldFillsAfterDetaching"}},
	{Number: 66, Says: "an attached table is made anew", Faults: []string{"source-swapped"}, Tests: []string{"migrations TestAttachedTableIsMigrated"}},
}
