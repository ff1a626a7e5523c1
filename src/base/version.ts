/** Marmot's version and the commit it was built from; the build defines both. */

declare const MARMOT_VERSION: string | undefined;
declare const MARMOT_COMMIT: string | undefined;

export const VERSION: string = typeof MARMOT_VERSION === "string" ? MARMOT_VERSION : "0.2.0-source";
export const COMMIT: string = typeof MARMOT_COMMIT === "string" ? MARMOT_COMMIT : "unknown";

declare const MARMOT_LIBP2P: string | undefined;
export const LIBP2P_VERSION: string = typeof MARMOT_LIBP2P === "string" ? MARMOT_LIBP2P : "as installed";
