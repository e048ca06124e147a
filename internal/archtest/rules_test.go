package archtest

// module is the path that our own packages begin with.
const module = "github.com/taskfeed/taskfeed"

// root is the package taskfeed itself, as the tables name it.
const root = "."

// anywhere in a list means every package. The product still imports nothing of the
// laboratory.
const anywhere = "*"

// mayImport says which of our packages each package may import. Dependencies
// point one way, and store, listener and hub meet in server alone.
var mayImport = map[string][]string{
	root:         {},
	"auth":       {root, "internal/pause"},
	"client":     {root, "internal/pause"},
	"hub":        {root, "internal/fair"},
	"forward":    {root, "store", "internal/pause"},
	"listener":   {root, "internal/locks", "internal/pause"},
	"relay":      {root, "hub", "internal/pause"},
	"migrations": {"internal/dial", "internal/locks", "internal/pause"},
	"store":      {root, "migrations", "store/internal/eventlog", "store/internal/pg", "store/internal/walk", "internal/dial", "internal/locks", "internal/pause", "internal/presets"},
	"httpapi":    {root, "hub", "auth", "httpapi/contract", "httpapi/feeds", "httpapi/inbox", "httpapi/request", "httpapi/rest", "internal/cache", "internal/logs"},
	"server":     {root, "auth", "httpapi", "httpapi/inbox", "hub", "listener", "migrations", "relay", "relay/natsrelay", "store", "store/history", "web", "internal/dial", "internal/locks", "internal/logs", "internal/pause", "internal/service"},
	"web":        {},

	"web/docs/generate": {},

	"relay/natsrelay": {"internal/pause", "relay"},

	"store/history":           {root, "store/internal/eventlog", "store/internal/pg", "store/internal/walk"},
	"store/internal/eventlog": {root, "store/internal/pg", "store/internal/walk"},
	"store/internal/pg":       {root, "internal/dial"},
	"store/internal/walk":     {},

	"httpapi/contract":          {},
	"httpapi/contract/generate": {},
	"httpapi/feeds":             {root, "auth", "hub", "httpapi/inbox", "httpapi/request", "internal/logs", "internal/pause", "internal/wsframe"},
	"httpapi/inbox":             {root, "httpapi/request"},
	"httpapi/request":           {root, "auth", "internal/fair", "internal/logs"},
	"httpapi/rest":              {root, "auth", "store/history", "httpapi/request", "internal/cache"}, // of store/history the queries and their answers

	"deploy":      {},
	"deploy/dist": {},

	"examples/embedded": {root, "server", "store"},

	"cmd/taskfeed":     {anywhere},
	"cmd/taskfeed-lab": {anywhere},

	"internal/archtest": {},
	"internal/cache":    {},
	"internal/cli":      {"internal/logs", "internal/terminal"},
	"internal/devpg":    {"internal/pause", "internal/proc"},
	"internal/dial":     {},
	"internal/fair":     {},
	"internal/locks":    {},
	"internal/logs":     {},
	"internal/pause":    {},
	"internal/presets":  {},
	"internal/proc":     {},
	"internal/service":  {},
	"internal/terminal": {},
	"internal/tracing":  {},
	"internal/wsframe":  {},

	"lab/bench":        {anywhere},
	"lab/checkout":     {},
	"lab/contracttest": {},
	"lab/crowd":        {"auth"},
	"lab/doctest":      {"lab/checkout"},
	"lab/fleet":        {"auth", "internal/devpg", "internal/pause", "internal/proc"},
	"lab/leaktest":     {},
	"lab/locked":       {},
	"lab/mutations":    {},
	"lab/netfault":     {"internal/pause"},
	"lab/plans":        {},
	"lab/pgtest":       {"internal/devpg", "lab/checkout", "lab/leaktest", "lab/netfault", "migrations"},
	"lab/natsd":        {},
	"lab/natstest":     {"internal/proc", "lab/checkout"},
	"lab/query":        {},
	"lab/relaytest":    {root, "hub", "relay"},
	"lab/ssetest":      {root},
	"lab/upgrade":      {anywhere},
	"lab/verify":       {anywhere, "lab/netfault"},
	"lab/versions":     {"internal/devpg"},
	"lab/wstest":       {root, "internal/wsframe"},

	"lab/verify/actor":   {"auth", "internal/dial", "internal/pause", "lab/verify/history"},
	"lab/verify/check":   {"lab/verify/history"},
	"lab/verify/history": {},
}

// testsMayImport says what the tests of a package may import beyond that. Every
// test may import its own package, testHelpers and internal/devpg.
var testsMayImport = map[string][]string{
	"client":           {"auth", "hub", "httpapi"},            // a real server to talk to
	"lab/contracttest": {"httpapi/contract"},                  // the contract itself
	"httpapi":          {"store/history", "internal/wsframe"}, // what the lists answer, and frames to send
	"httpapi/request":  {"httpapi/contract"},                  // the codes that it names
	"internal/wsframe": {root, "auth", "hub", "httpapi"},      // the server that the Autobahn cases are played against
	"lab/mutations":    {"lab/verify/check"},                  // the properties that there are
	"listener":         {"migrations", "store"},               // the real log
	"store":            {"store/history"},                     // everything that is asked of a database, in one test
	"store/history":    {"store"},                             // the log that it reads
}

// testHelpers are for tests: other code does not import them unless mayImport names
// one.
var testHelpers = []string{"lab/contracttest", "lab/doctest", "lab/leaktest", "lab/locked", "lab/natstest", "lab/netfault", "lab/pgtest", "lab/plans", "lab/relaytest", "lab/ssetest", "lab/wstest"}

// home says which packages may import an outside module and its subpackages.
type home struct {
	modules []string
	in      []string // packages
	tests   []string // packages of which the tests may, too
}

// homes lists every outside module in use.
var homes = []home{
	{modules: []string{"github.com/jackc/pgx/v5"}, in: []string{"internal/dial", "store", "store/history", "store/internal/eventlog", "store/internal/pg", "listener", "migrations", "cmd/taskfeed", "examples/embedded", "lab/pgtest", "lab/plans", "lab/query", "lab/bench", "lab/verify", "lab/verify/actor"}, tests: []string{"forward", "internal/devpg"}},
	{modules: []string{"github.com/pressly/goose/v3"}, in: []string{"migrations"}},
	{modules: []string{"github.com/labstack/echo/v4"}, in: []string{"httpapi", "httpapi/feeds", "httpapi/inbox", "httpapi/request", "httpapi/rest"}},
	{modules: []string{"github.com/gorilla/websocket"}, in: []string{"httpapi/feeds", "client", "lab/wstest", "lab/bench", "lab/verify/actor"}, tests: []string{"cmd/taskfeed", "httpapi"}},
	{modules: []string{"github.com/golang-jwt/jwt/v5", "github.com/MicahParks/jwkset"}, in: []string{"auth", "lab/bench", "lab/verify"}},
	{modules: []string{"github.com/prometheus/client_golang"}, in: []string{"httpapi", "httpapi/feeds", "httpapi/inbox", "server"}},
	{modules: []string{"github.com/prometheus/prometheus"}, tests: []string{"deploy"}},
	{modules: []string{"github.com/spf13/cobra", "github.com/spf13/pflag"}, in: []string{"cmd/taskfeed", "cmd/taskfeed-lab", "internal/cli"}},
	{modules: []string{"github.com/HdrHistogram/hdrhistogram-go"}, in: []string{"lab/bench", "lab/verify"}},
	{modules: []string{"github.com/klauspost/compress"}, in: []string{"relay"}},
	{modules: []string{"github.com/nats-io/nats.go"}, in: []string{"relay/natsrelay"}},
	{modules: []string{"github.com/nats-io/nats-server/v2", "github.com/nats-io/jwt/v2", "github.com/nats-io/nkeys"}, in: []string{"lab/natsd"}},
	{modules: []string{"golang.org/x/net"}, in: []string{"httpapi/request"}},
	{modules: []string{"golang.org/x/sync", "golang.org/x/sys"}, in: []string{anywhere}},
	{modules: []string{"go.opentelemetry.io/otel"}, in: []string{"internal/tracing", "server", "cmd/taskfeed"}},
	{modules: []string{"github.com/riverqueue/river"}, in: []string{"lab/bench"}, tests: []string{"cmd/taskfeed"}}, // a queue to attach
	{modules: []string{"go.uber.org/goleak"}, in: []string{"lab/leaktest", "lab/pgtest"}, tests: []string{"lab/leaktest"}},
	{modules: []string{"pgregory.net/rapid"}, tests: []string{anywhere}},
	{modules: []string{"github.com/getkin/kin-openapi", "github.com/santhosh-tekuri/jsonschema/v6"}, in: []string{"lab/contracttest"}},
	{modules: []string{"github.com/yuin/goldmark"}, in: []string{"web/docs/generate"}},
	{modules: []string{"go.yaml.in/yaml/v3"}, in: []string{"httpapi/contract/generate"}, tests: []string{"cmd/taskfeed", "deploy", "httpapi"}},
}

// standardOnly are promised to import nothing but the standard library and
// what mayImport says, their tests aside.
var standardOnly = []string{root, "hub", "web", "internal/devpg", "internal/fair", "internal/pause", "internal/presets", "internal/proc", "internal/service", "internal/wsframe"}

// unconfigured are the functions that open or configure a connection from a URL alone.
var unconfigured = map[string]bool{"pgx.Connect": true, "pgx.ConnectConfig": true, "pgx.ConnectWithOptions": true, "pgx.ParseConfig": true,
	"pgx.ParseConfigWithOptions": true, "pgxpool.New": true, "pgxpool.ParseConfig": true, "pgconn.Connect": true, "pgconn.ConnectConfig": true,
	"pgconn.ParseConfig": true, "stdlib.OpenDB": true, "stdlib.GetConnector": true, "sql.Open": true, "sql.OpenDB": true}

// badNames are meaningless names of packages.
var badNames = []string{"pkg", "util", "utils", "common", "models", "helpers", "misc"}

// maxLines is how long a file that is not a test may be.
const maxLines = 500
