//! Programs that run other code when they are told to: the list of allowed programs says little about those (S25).

/// What a program does with its arguments.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// Works on data, as far as is known.
    Plain,
    /// Does its own work and runs other programs by an option, a project file or a key: `git`, `tar`, `make`.
    Tool,
    /// Runs the file or the text that its arguments name: shells, `python3`, `perl`, `awk`.
    Interpreter,
    /// Runs the program that its arguments name: `env`, `sudo`, `xargs`, `busybox`.
    Wrapper,
}

const INTERPRETERS: &str = "sh bash dash ash zsh ksh mksh oksh pdksh lksh yash posh fish csh tcsh rbash rksh rzsh xonsh \
    nu elvish oil osh ysh rc es scsh pwsh powershell cmd cscript wscript osascript python pypy ipython jython micropython \
    perl raku ruby irb jruby node nodejs deno bun tsx ts-node esno qjs qjsc d8 js rhino php php-cgi php-fpm phpdbg lua luajit \
    luau tclsh wish expect awk gawk mawk nawk original-awk sed gsed ed ex red guile racket csi gosh sbcl clisp ecl emacs \
    emacsclient ghc ghci runghc runhaskell ocaml erl escript elixir iex r rscript julia octave java javaw jshell kotlin kotlinc \
    scala groovy clojure clj dotnet dotnet-script fsi csi mono dart swift tcc gforth dc m4 gdb lldb \
    nix-shell execlineb maxima gp sage openscad blender";

const WRAPPERS: &str = "env busybox toybox coreutils sbase-box hush sudo sudoedit doas su runuser pkexec gosu su-exec setpriv \
    capsh nice ionice chrt taskset numactl prlimit cpulimit nohup timeout gtimeout time stdbuf unbuffer setsid script \
    scriptreplay watch xargs gxargs parallel find gfind fd fdfind locate entr inotifywait flock chroot unshare nsenter bwrap \
    firejail proot fakeroot fakechroot strace ltrace perf valgrind rr setarch linux32 linux64 i386 x86_64 uname26 personality \
    systemd-run systemd-inhibit run-parts start-stop-daemon daemonize dumb-init tini s6-setuidgid chpst envdir envuidgid setuidgid \
    softlimit setlock runit at batch crontab ssh autossh mosh sshpass rsh dropbear dbus-run-session dbus-launch xvfb-run \
    tmux screen dtach abduco rlwrap socat nc ncat netcat docker podman nerdctl kubectl lxc incus machinectl flatpak snap \
    qemu wine rosetta ld ld.so ld-linux ld-linux-x86 ld-linux-aarch ld-linux-armhf ld-musl-x86 ld-musl-aarch \
    exec command builtin eval nix nix-build guix direnv dotenv mise asdf uvx npx pipx bunx pnpx yarnpkg catchsegv cgexec \
    cgroups with-contenv choom ldd wsl wsl.exe open xdg-open gio start ionice exo-open kioclient";

const TOOLS: &str = "git hg svn bzr fossil jj gh hub tar gtar bsdtar star cpio zip unzip 7z rsync scp sftp ftp lftp curl wget \
    make gmake bmake cmake ctest ninja meson scons just task rake bazel buck gradle gradlew mvn ant sbt lein mix rebar3 npm \
    yarn pnpm corepack pip uv poetry pdm hatch conda mamba tox nox pytest cargo rustc rustup go gcc cc clang tcc ld.bfd gold \
    bundle gem composer cpan cpanm apt apt-get dpkg dnf yum rpm pacman apk brew port snapcraft vim vi view nvim nano pico \
    micro less more most man info groff nroff troff pandoc latex pdflatex xelatex lualatex tex ffmpeg convert magick gs \
    gpg openssl journalctl systemctl loginctl service mount umount sqlite3 psql mysql mariadb mongosh redis-cli duckdb gnuplot insmod modprobe crontab logrotate sort gsort split dd \
    env-update ansible ansible-playbook terraform packer vagrant puppet chef salt helm fastlane pod xcodebuild xcrun \
    swiftc javac nmap tcpdump wireshark tshark mutt mail sendmail procmail formail cron iptables ip tc exiftool fzf rg ag bat";

/// The role that a program's file name stands for.
pub fn role(name: &str) -> Role {
    let lower = name.to_ascii_lowercase();
    let lower = lower.strip_suffix(".exe").unwrap_or(&lower);
    // `-sh` is a shell that was started as a login shell.
    let lower = lower.strip_prefix('-').unwrap_or(lower);
    let listed = |list: &str, name: &str| list.split_whitespace().any(|one| one == name);
    let mut found = Role::Plain;
    // `python3.12`, `perl5.36.0`, `lua5.4`, `gcc-13`, `busybox.static`, `python3-dbg`: with and without what follows.
    for name in [lower, without_version(lower), lower.split(['.', '-', '_']).next().unwrap_or(lower)] {
        let bare = without_version(name);
        for name in [name, bare] {
            let role = match () {
                () if listed(WRAPPERS, name) => Role::Wrapper,
                () if listed(INTERPRETERS, name) => Role::Interpreter,
                () if listed(TOOLS, name) => Role::Tool,
                () => Role::Plain,
            };
            found = found.max(role);
        }
    }
    found
}

fn without_version(name: &str) -> &str {
    name.trim_end_matches(|c: char| c.is_ascii_digit() || matches!(c, '.' | '-' | '_'))
}

/// Files that a tool reads in its working directory without being told to.
pub fn implied_files(name: &str) -> &'static [&'static str] {
    match without_version(name) {
        "make" | "gmake" | "bmake" => &["GNUmakefile", "makefile", "Makefile", "BSDmakefile"],
        "npm" | "npx" | "yarn" | "pnpm" | "bun" | "node" => &["package.json", ".npmrc"],
        "just" => &["justfile", "Justfile", ".justfile"],
        "cargo" => &["Cargo.toml", "build.rs", ".cargo/config.toml"],
        "go" => &["go.mod"],
        "git" => &[".git/config"],
        "rake" => &["Rakefile"],
        "pytest" | "tox" | "nox" => &["conftest.py", "pytest.ini", "pyproject.toml", "tox.ini", "noxfile.py"],
        "gradle" | "gradlew" => &["build.gradle", "build.gradle.kts", "settings.gradle"],
        "mvn" => &["pom.xml"],
        "cmake" => &["CMakeLists.txt"],
        "ninja" => &["build.ninja"],
        "docker" | "podman" => &["Dockerfile", "compose.yaml", "docker-compose.yml"],
        _ => &[],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn s25_interpreters_and_wrappers_are_known_by_any_of_their_names() {
        for name in "sh bash -bash dash zsh python python3 python3.12 python3.12-dbg pypy3 perl perl5.36.0 node node22 nodejs ruby3.1 \
            lua5.4 php8.2 awk gawk mawk sed Rscript BASH bash.exe ed emacs-gtk"
            .split_whitespace()
        {
            assert_eq!(role(name), Role::Interpreter, "{name}");
        }
        for name in "env sudo xargs nice timeout find busybox busybox.static toybox setsid nohup flock ssh ld-linux-x86-64.so.2 coreutils \
            run-parts start-stop-daemon qemu-x86_64-static"
            .split_whitespace()
        {
            assert_eq!(role(name), Role::Wrapper, "{name}");
        }
        for name in ["git", "tar", "make", "vim.tiny", "gcc-13", "less"] {
            assert_eq!(role(name), Role::Tool, "{name}");
        }
        for name in ["ls", "echo", "cat", "touch", "pwd", "sleep", "head", "true", "date", "wc", "shasum", "", "7"] {
            assert_eq!(role(name), Role::Plain, "{name}");
        }
    }
}
