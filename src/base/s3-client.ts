/** The S3 client of the environment: S3_ENDPOINT, S3_REGION and credentials, or the same with AWS_, as other tools name them. */

const NAMES = {
  endpoint: ["S3_ENDPOINT", "AWS_ENDPOINT", "AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"],
  region: ["S3_REGION", "AWS_REGION", "AWS_DEFAULT_REGION"],
  accessKeyId: ["S3_ACCESS_KEY_ID", "AWS_ACCESS_KEY_ID"],
  secretAccessKey: ["S3_SECRET_ACCESS_KEY", "AWS_SECRET_ACCESS_KEY"],
  sessionToken: ["S3_SESSION_TOKEN", "AWS_SESSION_TOKEN"],
} as const;

let access: Readonly<Record<string, string>> = {};

/** Called once by the process, with its environment. */
export function useS3(environment: Readonly<Record<string, string | undefined>>): void {
  access = Object.fromEntries(
    Object.entries(NAMES).flatMap(([option, names]) => {
      const value = names.map((name) => environment[name]).find((v) => v !== undefined && v !== "");
      return value === undefined ? [] : [[option, value] as const];
    }),
  );
}

export const s3Client = (bucket: string): Bun.S3Client => new Bun.S3Client({ bucket, ...access });
