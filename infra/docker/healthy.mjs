// Health check of a container: exits with 0 when the service's probe says that it is ready.
const port = process.env.SWITCHYARD_PROBE_PORT;
const response = await fetch(`http://127.0.0.1:${port}/readiness`, { signal: AbortSignal.timeout(2000) }).catch(() => undefined);
process.exit(response?.ok ? 0 : 1);
