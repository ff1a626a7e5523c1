/** `marmot run`: runs a node until SIGINT or SIGTERM. */
import { systemClock } from "../../base/clock.ts";
import { errorMessage, UserError } from "../../base/errors.ts";
import { createLogger, type Logger, type LogLevel } from "../../base/logger.ts";
import { Random } from "../../base/random.ts";
import type { NodeApi, ProgressStatus } from "../../operations/api.ts";
import type { RunningNode } from "../../node/handle.ts";
import type { CliContext } from "../context.ts";
import type { Options } from "../options/options.ts";
import { describe, ProgressLine } from "../output/progress-line.ts";
import { archiveProblems } from "../options/archive-options.ts";
import { incomplete } from "../options/history-options.ts";
import { readTokenFile } from "../options/admin-token.ts";
import { contradictions, doubled, RUN_OPTIONS, runSettings } from "../run-options.ts";
import { notifyService } from "../service-manager.ts";
import { RUN_GROUPS } from "../run-groups.ts";
import { screen, startFields } from "../output/run-screen.ts";
import { text, type Verb } from "../verb.ts";

/** A node stops in milliseconds. After this time it hangs; service managers usually kill after 10 s. */
const STOP_MS = 9000;

async function run(options: Options, _words: readonly string[], context: CliContext): Promise<number> {
  const settings = runSettings(options, context);
  const interrupted = context.interrupted().then(() => "interrupted" as const);
  const { EventList } = await import("../../operations/events/event-list.ts");
  const events = new EventList();
  const line = new ProgressLine(context, () => systemClock.now());
  const logger = createLogger({
    level: (text(options, "log-level") ?? "info") as LogLevel,
    format: text(options, "log-format") === "json" ? "json" : "text",
    write: (entry) => line.say(entry),
    wallTime: () => systemClock.wallTime(),
    onEvent: (event) => {
      events.add(event);
      if (event.kind === "ready") notifyService(context.environment, `STATUS=${event.message}`);
    },
  });
  const [{ startNode }, { AdminServer }, { controlSocketOf }, { groupId, shareSocket }] = await Promise.all([
    import("../../node/node.ts"),
    import("../../admin/server.ts"),
    import("../../node/keys.ts"),
    import("../../node/startup/unix-group.ts"),
  ]);
  // Every file of this process is its user's alone, unless it is shared on purpose.
  process.umask(0o077);
  const group = settings.node.group === null ? null : groupId(settings.node.group);
  let progress: ProgressStatus | null = null;
  const admin = AdminServer.open({
    address: settings.admin,
    token: settings.tokenFile === null ? settings.token : readTokenFile(settings.tokenFile),
    open: settings.open,
    shareSocket: group === null ? null : (path) => shareSocket(path, group),
    starting: () => (progress === null ? "starting" : describe(progress)),
  });
  const random = new Random(crypto.getRandomValues(new Uint32Array(1))[0]!);
  const onProgress = (now: ProgressStatus | null): void => {
    progress = now;
    line.report(now, logger);
  };
  const controlSocket = controlSocketOf(settings.node.dataDir);
  const onLocked = (api: NodeApi): void => admin.attach(api, controlSocket);
  const { command } = context;
  const parts = { clock: systemClock, random, logger, events, command };
  const starting = startNode(settings.node, { ...parts, onProgress, onLocked });
  let node: RunningNode;
  try {
    // A start may end at any point: the next one begins again.
    const started = await Promise.race([starting, interrupted]);
    if (started === "interrupted") {
      starting.catch(() => {}); // the process ends
      await admin.stop();
      return 0;
    }
    node = started;
  } catch (error) {
    await admin.stop();
    throw error;
  }
  let failure: Error | null = null;
  try {
    if (text(options, "log-format") === "json") logger.info("started", startFields(node, admin.url));
    else line.say(screen(node, admin.url, settings.node).join("\n"));
    // Ready for the service manager: the others of a new cluster must be started before this node can be ready itself.
    notifyService(context.environment, "READY=1");
    const end = await Promise.race([node.failed, interrupted]);
    if (end !== "interrupted") failure = end;
  } catch (error) {
    failure = error as Error;
  }
  line.report(null, logger);
  const stopped = await stop(node, admin, logger);
  if (node.mustBeKilled) process.kill(process.pid, "SIGKILL");
  if (failure !== null) throw stoppedBy(failure);
  return stopped ? 0 : 1;
}

/** False: stopping took too long; the process ends anyway. */
async function stop(node: RunningNode, admin: { stop(): Promise<void> }, logger: Logger): Promise<boolean> {
  const all = node
    .handOver()
    .then(() => admin.stop())
    .then(() => node.stop());
  const inTime = await Promise.race([all.then(() => true), Bun.sleep(STOP_MS).then(() => false)]);
  if (inTime) logger.info("stopped");
  else
    logger.warn("did not stop in time; ending anyway, no acknowledged change is lost", {
      limitMs: STOP_MS,
    });
  return inTime;
}

function stoppedBy(failure: Error): UserError {
  if (failure instanceof UserError) return failure;
  return new UserError(
    `the node stopped: ${errorMessage(failure)}`,
    "start it again with marmot run; no acknowledged change is lost",
    { cause: failure },
  );
}

export const runVerb: Verb = {
  name: "run",
  summary: "Runs a node: joins the cluster of --peers, or forms a new one.",
  usage: "run FILE [options]",
  options: RUN_OPTIONS,
  groups: RUN_GROUPS,
  example: "marmot run --db app.db --peers /dns/node-1/tcp/8160",
  check: (options, _words, context) => [
    ...incomplete(options),
    ...archiveProblems(options),
    ...contradictions(runSettings(options, context)),
    ...doubled(options),
  ],
  survey: async (options, context) => {
    const { survey } = await import("../run-survey.ts");
    return survey(runSettings(options, context));
  },
  run,
};
