/** A formula for Homebrew, which installs the archives of a release. */
export interface FormulaOptions {
  readonly version: string;
  /** The folder of the release. */
  readonly url: string;
  /** File ⇒ SHA-256. Platforms whose archive is not among them are left out. */
  readonly hashes: ReadonlyMap<string, string>;
}

const PLATFORMS = [
  ["on_macos", "on_arm", "darwin-arm64"],
  ["on_macos", "on_intel", "darwin-x64"],
  ["on_linux", "on_arm", "linux-arm64"],
  ["on_linux", "on_intel", "linux-x64"],
] as const;

export function formula({ version, url, hashes }: FormulaOptions): string {
  const blocks = PLATFORMS.flatMap(([system, cpu, name]) => {
    const file = `marmot-${version}-${name}.tar.gz`;
    const hash = hashes.get(file);
    if (hash === undefined) return [];
    return [
      `  ${system} do\n    ${cpu} do\n      url "${url}/${file}"\n      sha256 "${hash}"\n    end\n  end`,
    ];
  });
  return `class Marmot < Formula
  desc "Replicates one plain SQLite file to several machines"
  homepage "${url.replace(/\/releases\/.*$/, "")}"
  version "${version}"
  license "MIT"

${blocks.join("\n")}

  on_macos do
    depends_on "sqlite"
  end

  def install
    bin.install "marmot"
    man1.install "man/marmot.1"
    bash_completion.install "completions/marmot.bash" => "marmot"
    zsh_completion.install "completions/_marmot"
    fish_completion.install "completions/marmot.fish"
  end

  test do
    assert_match version.to_s, shell_output("#{bin}/marmot version")
  end
end
`;
}
