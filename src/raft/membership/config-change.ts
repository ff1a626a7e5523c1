/**
 * The codec of configuration changes in the log. Fixed layout: a format byte, the number of steps, the steps, the
 * context.
 * A step is a byte for its type and a float64 for the member id, which holds every safe integer. Format 2 adds a byte
 * for
 * the transition after the number of steps; format 1 means the transition `auto`.
 */
import { assert } from "../../base/assert.ts";
import { EMPTY_BYTES } from "../../base/bytes.ts";
import {
  ConfigChangeTransition,
  ConfigChangeType,
  type ConfigChange,
  type ConfigChangeStep,
} from "../model/types.ts";

const FORMAT = 1;
const FORMAT_WITH_TRANSITION = 2;
const HEADER_BYTES = 2;
const STEP_BYTES = 9;
const MAX_STEPS = 255;
const MAX_TYPE = ConfigChangeType.addLearner;
const MAX_TRANSITION = ConfigChangeTransition.jointExplicit;

/** The change that leaves a joint configuration. */
export const LEAVE_JOINT: ConfigChange = { steps: [], context: EMPTY_BYTES };

/**
 * Leaving a joint configuration without a context takes no bytes, so that no limit can refuse it. At most 255 steps.
 */
export function encodeConfigChange(change: ConfigChange): Uint8Array {
  assert(change.steps.length <= MAX_STEPS, "a configuration change has at most 255 steps");
  const transition = change.transition ?? ConfigChangeTransition.auto;
  const plain = transition === ConfigChangeTransition.auto;
  if (plain && change.steps.length === 0 && change.context.length === 0) return EMPTY_BYTES;
  const stepsAt = plain ? HEADER_BYTES : HEADER_BYTES + 1;
  const head = stepsAt + change.steps.length * STEP_BYTES;
  const bytes = new Uint8Array(head + change.context.length);
  const view = new DataView(bytes.buffer);
  bytes[0] = plain ? FORMAT : FORMAT_WITH_TRANSITION;
  bytes[1] = change.steps.length;
  if (!plain) bytes[HEADER_BYTES] = transition;
  change.steps.forEach((step, i) => {
    const at = stepsAt + i * STEP_BYTES;
    bytes[at] = step.type;
    view.setFloat64(at + 1, step.member);
  });
  bytes.set(change.context, head);
  return bytes;
}

/** Throws `RangeError` on bytes that encode no change: they come from another node, so this is no assertion. */
export function decodeConfigChange(bytes: Uint8Array): ConfigChange {
  if (bytes.length === 0) return LEAVE_JOINT;
  const plain = bytes[0] === FORMAT;
  if (!plain && bytes[0] !== FORMAT_WITH_TRANSITION) {
    throw new RangeError(
      `configuration change: expected format ${FORMAT} or ${FORMAT_WITH_TRANSITION}, got ${bytes[0]}`,
    );
  }
  const count = bytes[1] ?? -1;
  const stepsAt = plain ? HEADER_BYTES : HEADER_BYTES + 1;
  const head = stepsAt + count * STEP_BYTES;
  if (count < 0 || bytes.length < head) {
    throw new RangeError(`configuration change: ${bytes.length} bytes are too few for ${count} steps`);
  }
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const steps: ConfigChangeStep[] = [];
  for (let at = stepsAt; at < head; at += STEP_BYTES) {
    const type = view.getUint8(at);
    const member = view.getFloat64(at + 1);
    if (type > MAX_TYPE) throw new RangeError(`configuration change: unknown type ${type}`);
    if (!Number.isSafeInteger(member) || member < 0) {
      throw new RangeError(`configuration change: ${member} is no member id`);
    }
    steps.push({ type: type as ConfigChangeType, member });
  }
  const context = bytes.slice(head);
  if (plain) return { steps, context };
  const transition = view.getUint8(HEADER_BYTES);
  if (transition === ConfigChangeTransition.auto || transition > MAX_TRANSITION)
    throw new RangeError(`configuration change: unknown transition ${transition}`);
  return { steps, transition: transition as ConfigChangeTransition, context };
}
