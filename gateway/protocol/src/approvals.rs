//! Exec approvals: the stored policy and the questions to a person (nodes-config-lifecycle.md part A4, S19).
#![allow(missing_docs)]

use crate::{
    nodes::Short,
    wire,
    wire::{Count, Dict, Int, List, MAX_SAFE, NonEmpty, Text},
    words,
};

wire! { /// `exec-approvals.json`: which programs may run, per agent.
    ExecApprovalsFile {
        version: Int<1, 1>,
        ;
        /// Kept for apps that talk to a local approver; never shown with its token.
        socket: ExecSocket,
        defaults: ExecDefaults,
        /// By agent id; `*` stands for all.
        agents: Dict<ExecAgent>,
    }
}
wire! { /// Where a local approver listens.
ExecSocket { ; path: String, token: String, } }
wire! { /// `security`: deny, allowlist or full; `ask`: off, on-miss or always; `askFallback`: as security, when nobody answers.
ExecDefaults { ; security: String, ask: String, ask_fallback: String, auto_allow_skills: bool, } }
wire! { /// The policy of one agent; what is absent comes from `*`, then from `defaults`.
    ExecAgent {
        ;
        security: String,
        ask: String,
        ask_fallback: String,
        auto_allow_skills: bool,
        allowlist: List<ExecAllowed, 0, 1000>,
    }
}
wire! { /// A program that may run: a path, `*`, `**` and `?` as in a shell.
    ExecAllowed {
        pattern: Text<1, 1024>,
        ;
        id: String,
        last_used_at: Count,
        last_used_command: String,
        last_resolved_path: String,
        /// The program's content when a person said allow-always: with another content a person is asked again (S25).
        sha256: String,
    }
}
wire! { /// The stored policy, without the socket's token; `hash` is the SHA-256 of the file's text.
ExecApprovals { path: String, exists: bool, hash: String, file: ExecApprovalsFile, } }
wire! { /// Replaces the stored policy; `baseHash` is the hash that it was read with (S19).
ExecApprovalsSetParams { file: ExecApprovalsFile, ; base_hash: NonEmpty, } }
wire! { /// The policy of a node's own host.
ExecApprovalsNodeGetParams { node_id: NonEmpty, } }
wire! { /// The same with what to write.
ExecApprovalsNodeSetParams { node_id: NonEmpty, file: ExecApprovalsFile, ; base_hash: NonEmpty, } }

wire! { /// Asks a person whether a command may run; the answer comes when somebody decided, or in time with null.
    ExecApprovalRequestParams {
        command: Text<1, 16384>,
        ;
        id: Short,
        /// Two minutes when not said.
        timeout_ms: Int<1, MAX_SAFE>,
        /// The exact argument list; only with it the approval can be used for `node.invoke` of `system.run`.
        argv: List<String, 1, 1000>,
        /// Variables that are set for it, by name and value: they are shown and bound exactly (S25, S27).
        env: Dict<Text<0, 4096>>,
        /// SHA-256 of `env`, as the executing side reckons it; another one than that of `env` is refused.
        env_hash: Short,
        /// The node on which it is to run.
        node_id: Short,
        ; nullable
        cwd: Text<0, 4096>,
        host: Text<0, 512>,
        security: Text<0, 512>,
        ask: Text<0, 512>,
        agent_id: Text<0, 512>,
        resolved_path: Text<0, 4096>,
        session_key: Text<0, 512>,
    }
}
wire! { /// A file that decides what a command does.
    ExecApprovalFile {
        /// As the command names it.
        name: String,
        /// After all links.
        path: String,
        /// SHA-256 of its content.
        sha256: String,
    }
}
wire! { /// What a person is asked. With `argv` everything is what will run, made by the gateway; without it, it is the words of
    /// who asks and opens nothing (S25).
    ExecApprovalAsk {
        command: String,
        cwd: Option<String>,
        host: Option<String>,
        security: Option<String>,
        ask: Option<String>,
        agent_id: Option<String>,
        resolved_path: Option<String>,
        session_key: Option<String>,
        ;
        argv: Vec<String>,
        /// Variables that are set, by name and value.
        env: Dict<String>,
        /// Variables that were asked for and are not set.
        env_left_out: Vec<String>,
        env_hash: String,
        node_id: String,
        /// SHA-256 of the program's content.
        sha256: String,
        /// Scripts and programs among the arguments.
        files: Vec<ExecApprovalFile>,
        /// Why allow-always is allow-once for this command.
        not_remembered: String,
    }
}
wire! { /// Payload of `exec.approval.requested`, and a row of `exec.approval.list`.
ExecApprovalRequested { id: String, request: ExecApprovalAsk, created_at_ms: u64, expires_at_ms: u64, } }
wire! { /// `decision` is null when nobody decided in time.
ExecApprovalOutcome { id: String, decision: Option<Decision>, created_at_ms: u64, expires_at_ms: u64, } }
wire! { /// Questions that wait, oldest first (own method: the command line needs it).
ExecApprovalList { pending: Vec<ExecApprovalRequested>, } }
wire! { /// Decides a question.
ExecApprovalResolveParams { id: NonEmpty, decision: NonEmpty, } }
wire! { /// Payload of `exec.approval.resolved`.
ExecApprovalResolved { id: String, decision: Decision, resolved_by: String, ts: u64, } }

words! {
    /// What a person said to a command.
    pub enum Decision {
        /// This once.
        AllowOnce = "allow-once",
        /// And put it on the allowlist.
        AllowAlways = "allow-always",
        /// No.
        Deny = "deny",
    }
}
