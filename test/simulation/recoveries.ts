/**
 * Clusters that lose members for good: a survivor begins a new epoch, and the others come back; two survivors do so apart; a
 * member is removed or gives its vote to a learner. One seed, one course of events, as in simulation.ts.
 */
import { setAside } from "../../src/node/offline/rejoin.ts";
import { recoverFiles } from "../../src/node/recovery/recover-files.ts";
import { dataPaths } from "../../src/replication/machine/data-paths.ts";
import { loadIdentity, signText } from "../../src/transport/identity.ts";
import { Scenario, type ScenarioResult } from "./scenario.ts";
import type { SimNode } from "./sim-node.ts";
import { writeIdentity } from "./template.ts";

/** A broken connection is noticed within this time. */
const NOTICED_MS = 6000;
/** A member that meets a node of a later epoch halts within this time. */
const HALTED_MS = 30_000;
const REPLACE_AFTER_MS = 3000;

export const LOSSES = ["recovered", "recovered apart", "removed", "replaced by a learner"] as const;
export type Loss = (typeof LOSSES)[number];

export async function loseMembers(
  seed: number,
  verbose = false,
): Promise<ScenarioResult & { readonly loss: Loss; readonly followers: number }> {
  const run = new RecoveryRun(seed, verbose);
  const result = await run.play();
  return { ...result, loss: run.loss, followers: run.followers };
}

type Two = readonly [SimNode, SimNode];

class RecoveryRun extends Scenario {
  readonly loss: Loss;
  /** Learners that followed the survivor. */
  followers = 0;

  constructor(seed: number, verbose: boolean) {
    super(seed, verbose, { replaceAfterMs: REPLACE_AFTER_MS });
    this.loss = LOSSES[seed % LOSSES.length]!;
  }

  async act(): Promise<void> {
    const victim = this.random.pick(this.nodes);
    const others = this.nodes.filter((node) => node !== victim) as unknown as Two;
    await this.#writes(this.nodes);
    switch (this.loss) {
      case "recovered":
        return this.#recovered(victim, others);
      case "recovered apart":
        return this.#apart(victim, others);
      case "removed":
        return this.#removed(victim, others);
      case "replaced by a learner":
        return this.#replaced(victim, others);
    }
  }

  async #recovered(survivor: SimNode, others: Two): Promise<void> {
    const witnesses = this.random.chance(0.6) ? [await this.#newcomer("learner")] : [];
    if (this.random.chance(0.5)) await this.#writeBehind(survivor, others);
    for (const node of others) await this.down(node);
    const pending = this.pending(survivor);
    await this.#recover(survivor);
    const followers = await this.#followers(witnesses, survivor);
    const halted = witnesses.filter((node) => !followers.includes(node));
    await this.write(survivor);
    this.confirmed.set(...pending);
    await this.settle([survivor, ...followers]);
    this.check([survivor, ...followers]);
    // One of the two may meet the survivor late.
    const late = this.random.chance(0.5) ? others[0] : null;
    if (late !== null) this.#cut(late, survivor);
    for (const node of others) this.start(node);
    await this.#halted(others.filter((node) => node !== late));
    for (const node of others)
      if (await this.confirms(node)) this.problems.push(`${node.name} confirms in the earlier epoch`);
    await this.write(survivor);
    if (late !== null) this.#heal(late, survivor);
    await this.#halted(others);
    // The survivor of the later epoch may be away at their next start.
    for (const node of this.nodes) await this.down(node);
    this.start(others[0]);
    await this.#halted([others[0]]);
    for (const node of [survivor, ...followers]) this.start(node);
    await this.#rejoin([survivor, ...followers], [...others, ...halted]);
  }

  /** Rows that the others confirm while the survivor is cut off: these may be lost. */
  async #writeBehind(survivor: SimNode, others: Two): Promise<void> {
    for (const node of others) this.#cut(node, survivor);
    await this.pass(this.random.between(0, 3000));
    const before = new Map(this.confirmed);
    await this.#writes(others);
    this.confirmed.clear();
    for (const [key, tag] of before) this.confirmed.set(key, tag);
    for (const node of others) this.#heal(node, survivor);
    if (this.random.chance(0.5)) await this.pass(this.random.between(0, 50));
  }

  async #apart(victim: SimNode, others: Two): Promise<void> {
    const [one, two] = others;
    for (const node of this.nodes) await this.down(node);
    this.#cut(one, two);
    for (const node of others) {
      await this.#recover(node);
      for (let i = this.random.between(0, 3); i > 0; i--) this.pending(node);
    }
    const confirmed = new Map(this.confirmed);
    for (const node of others) await this.write(node);
    this.confirmed.clear();
    for (const [key, tag] of confirmed) this.confirmed.set(key, tag);
    this.#heal(one, two);
    const superseded = (): SimNode[] => others.filter((node) => isSuperseded(node));
    await this.until(() => superseded().length === 1, "one of two recovered members halts");
    await this.pass(this.random.between(0, 3000));
    let [halted] = superseded() as [SimNode];
    let goesOn = halted === one ? two : one;
    if (this.random.chance(0.4)) {
      // The operator chooses the other one after all: its next epoch is later than both.
      await this.#recover(halted);
      await this.#halted([goesOn]);
      [halted, goesOn] = [goesOn, halted];
    }
    this.start(victim);
    await this.#halted([victim]);
    await this.write(goesOn);
    if (await this.confirms(halted)) this.problems.push(`${halted.name} confirms after it met a later epoch`);
    await this.#rejoin([goesOn], [victim, halted]);
  }

  async #removed(victim: SimNode, others: Two): Promise<void> {
    const isDead = this.random.chance(0.5);
    if (isDead) await this.down(victim);
    const asked = this.random.pick(others);
    let isAnswered = false;
    void asked.node!.api.changeMember("remove", victim.name).then(
      () => (isAnswered = true),
      (error: unknown) => this.problems.push(`the removal fails: ${String(error)}`),
    );
    await this.until(() => isAnswered && others.every((node) => votersOf(node) === 2), "the member has left");
    const next = await this.#newcomer("voter");
    const live = [...others, next];
    await this.until(() => areVoters(live), "another node has its vote");
    const away = this.random.pick(live);
    await this.down(away);
    const rest = live.filter((node) => node !== away);
    await this.write(this.random.pick(rest));
    this.start(away);
    if (isDead) {
      // The removed one does not know that it was removed.
      if (this.random.chance(0.5)) await this.#recoverStopped(victim);
      this.start(victim);
    }
    await this.pass(NOTICED_MS);
    if (!(victim.node?.api.notReady() ?? "").startsWith("removed"))
      this.problems.push(`${victim.name} is not halted: ${victim.node?.api.notReady() ?? victim.state}`);
    await this.settle(live);
    this.check(live);
  }

  async #replaced(victim: SimNode, others: Two): Promise<void> {
    const spare = await this.#newcomer("learner");
    await this.settle(this.nodes);
    await this.down(victim);
    const live = [...others, spare];
    await this.until(() => areVoters(live), "the learner has the vote");
    const away = this.random.pick(live);
    await this.down(away);
    const rest = live.filter((node) => node !== away);
    await this.write(this.random.pick(rest)); // of three voters one may fail
    for (const node of [away, victim]) this.start(node);
    await this.settle(this.nodes);
    await this.until(() => areVoters([...others, victim]), "it gives it back");
    await this.settle(this.nodes);
    this.check(this.nodes);
  }

  // ------------------------------------------------------------------------------------------ steps

  async #writes(nodes: readonly SimNode[]): Promise<void> {
    for (let i = this.random.between(1, 4); i > 0; i--) {
      const node = this.random.pick(nodes);
      if (this.random.chance(0.5)) await this.write(node);
      else this.pending(node);
    }
  }

  /** While it runs or is stopped; a crash in between is repeated. */
  async #recover(node: SimNode): Promise<void> {
    const before = node.member?.epochs.own.at(-1)?.number ?? (isSuperseded(node) ? 1 : 0);
    if (node.state === "up" && this.random.chance(0.3)) await this.down(node);
    for (let attempt = 0; ; attempt++) {
      if (attempt > 30) throw new Error(`${node.name} cannot be recovered`);
      if (node.state === "down") {
        await this.#recoverStopped(node);
        this.start(node);
      } else await this.#recoverRunning(node, attempt);
      await this.until(() => node.state !== "starting" && node.state !== "dying", `${node.name} starts`);
      if (node.state === "down") this.start(node);
      await this.until(() => node.member !== null || isSuperseded(node), `${node.name} opens its files`);
      if ((node.member?.epochs.own.at(-1)?.number ?? 0) > before) break;
    }
    await this.until(() => node.node?.api.notReady() === null, `${node.name} is ready`);
  }

  async #recoverStopped(node: SimNode): Promise<void> {
    this.world.log(`${node.name} begins an epoch while it is stopped`);
    const paths = dataPaths(node.dataDir);
    const key = await loadIdentity(paths.identity);
    const signer = { id: this.#id(), sign: (text: string) => signText(key, text) };
    let isDone = false;
    void recoverFiles({ db: node.file, paths, peerId: node.peerId }, signer).then(
      () => (isDone = true),
      (error: unknown) => this.problems.push(String(error)),
    );
    await this.until(() => isDone, "the files are recovered");
  }

  async #recoverRunning(node: SimNode, attempt: number): Promise<void> {
    await this.pass(attempt === 0 ? 0 : 1000);
    if (node.node === null) return;
    let isDone = false;
    void node.node.api.recover({ plan: false }).then(
      () => (isDone = true),
      () => (isDone = true), // its majority is not out of touch yet
    );
    if (attempt === 0 && this.random.chance(0.5))
      node.crash({ power: null, downMs: 10, interrupt: this.random.between(1, 20) });
    await this.until(() => isDone || node.state !== "up", "the recovery ends");
  }

  #id(): string {
    return Buffer.from(Array.from({ length: 16 }, () => this.random.below(256))).toString("hex");
  }

  async #newcomer(role: "voter" | "learner"): Promise<SimNode> {
    const number = this.nodes.length;
    const node = await this.node(number, this.folder, undefined, { role });
    this.nodes.push(node);
    await writeIdentity(node.dataDir, number);
    this.start(node);
    await this.until(() => node.node?.api.notReady() === null, `${node.name} joins`);
    node.application.open();
    return node;
  }

  async #halted(nodes: readonly SimNode[]): Promise<void> {
    const end = this.world.now + HALTED_MS;
    await this.until(
      () => nodes.every(isSuperseded) || this.world.now > end,
      () => "members of the earlier epoch halt",
    );
    for (const node of nodes)
      if (!isSuperseded(node))
        this.problems.push(`${node.name} is not halted: ${node.node?.api.notReady() ?? node.state}`);
  }

  /** The learners that go on with the survivor; the others have entries that it lacks, and are halted. */
  async #followers(learners: readonly SimNode[], survivor: SimNode): Promise<SimNode[]> {
    const follows = ({ member }: SimNode): boolean => (member?.epochs.own.length ?? 0) > 0;
    const isHalted = (node: SimNode): boolean =>
      (node.node?.api.notReady() ?? "").includes("it has entries that the newest epoch lacks");
    await this.until(
      () => learners.every((node) => follows(node) || isHalted(node)),
      "each learner follows, or is halted",
    );
    const followers = learners.filter(follows);
    this.followers += followers.length;
    for (const node of followers) {
      // A crash of the learner right after it took over the configurations.
      if (this.random.chance(0.3)) {
        await this.down(node);
        this.start(node);
      }
      await this.until(() => node.node?.api.notReady() === null, `${node.name} follows ${survivor.name}`);
    }
    return followers;
  }

  /** As the hint of the halt says. */
  async #rejoin(members: readonly SimNode[], nodes: readonly SimNode[]): Promise<void> {
    for (const node of nodes) {
      await this.down(node);
      node.application.close();
      node.rejoins = true;
      setAside(node.file, node.dataDir, "before");
      this.start(node);
      await this.until(() => node.node?.api.notReady() === null, `${node.name} joins again`);
      node.application.open();
    }
    await this.write(this.random.pick(nodes));
    await this.settle([...members, ...nodes]);
    this.check([...members, ...nodes]);
  }

  #cut(a: SimNode, b: SimNode): void {
    this.network.cut(a.peerId, b.peerId);
    this.network.cut(b.peerId, a.peerId);
  }

  #heal(a: SimNode, b: SimNode): void {
    this.network.heal(a.peerId, b.peerId);
    this.network.heal(b.peerId, a.peerId);
  }
}

const isSuperseded = (node: SimNode): boolean => (node.node?.api.notReady() ?? "").startsWith("superseded");

const votersOf = (node: SimNode): number =>
  node.member?.runtime.groups[0]!.configuration.configuration.voters.length ?? 0;

/** All of them know that they are the voters of each group, and no group is between two configurations. */
const areVoters = (nodes: readonly SimNode[]): boolean =>
  nodes.every(({ member }) =>
    member?.runtime.groups.every((group) => {
      const { voters, votersOutgoing } = group.configuration.configuration;
      const peers = new Set(voters.map((voter) => group.peerOf(voter)));
      return (
        votersOutgoing.length === 0 &&
        voters.length === nodes.length &&
        nodes.every(({ peerId }) => peers.has(peerId))
      );
    }),
  );
