package httpapi
const idleClientsEnv = "TASKFEED_IDLE_CLIENTS"
func runIdleClients(string) {}
