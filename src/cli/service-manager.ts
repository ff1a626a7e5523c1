/** Tells systemd the state of a node that it started (`Type=notify`): https://www.freedesktop.org/software/systemd/man/sd_notify.html */

/** Sends the assignments by the tool of systemd, which is there wherever the socket is. Elsewhere does nothing. */
export function notifyService(
  environment: Readonly<Record<string, string | undefined>>,
  ...assignments: readonly string[]
): void {
  if (!environment.NOTIFY_SOCKET) return;
  const tool = Bun.which("systemd-notify");
  if (tool === null) return;
  Bun.spawn([tool, `--pid=${process.pid}`, ...assignments], {
    stdio: ["ignore", "ignore", "ignore"],
  }).unref();
}
