%% The chat server of examples/chat.ts on Erlang's gen_tcp: a process per connection, which writes to
%% its own socket, and one that knows the members. Lines are cut by {packet, line}.
%%
%% usage: escript erlang-chat.erl [--host ADDRESS] [--port PORT]; prints `listening on HOST:PORT`.
-mode(compile).
-export([main/1]).

main(Arguments) ->
    #{"--host" := Host, "--port" := Port} = options(Arguments, #{"--host" => "127.0.0.1", "--port" => "0"}),
    {ok, Address} = inet:parse_address(Host),
    {ok, Listener} = gen_tcp:listen(list_to_integer(Port), [
        binary, {ip, Address}, {active, false}, {nodelay, true}, {backlog, 4096}, {reuseaddr, true},
        {packet, line}, {buffer, 65536}
    ]),
    {ok, Bound} = inet:port(Listener),
    Room = spawn_link(fun() -> room(#{}) end),
    io:format("version: Erlang/OTP ~s~n", [erlang:system_info(otp_release)]),
    io:format("listening on ~s:~b~n", [Host, Bound]),
    accept(Listener, Room, 1).

options([Name, Value | Rest], Options) when is_map_key(Name, Options) ->
    options(Rest, Options#{Name := Value});
options([], Options) ->
    Options.

accept(Listener, Room, Number) ->
    {ok, Socket} = gen_tcp:accept(Listener),
    User = ["user", integer_to_list(Number)],
    Pid = spawn(fun() -> receive go -> start(Socket, Room, User) end end),
    ok = gen_tcp:controlling_process(Socket, Pid),
    Pid ! go,
    accept(Listener, Room, Number + 1).

%% Who is there.
room(Members) ->
    receive
        {join, Pid, User} ->
            monitor(process, Pid),
            maps:foreach(
                fun(Other, Name) ->
                    Pid ! {tell, [Name, " arrived.\n"]},
                    Other ! {tell, [User, " arrived.\n"]}
                end,
                Members
            ),
            room(Members#{Pid => User});
        {say, Line} ->
            maps:foreach(fun(Pid, _) -> Pid ! {tell, Line} end, Members),
            room(Members);
        {'DOWN', _, process, Pid, _} ->
            {User, Rest} = maps:take(Pid, Members),
            maps:foreach(fun(Other, _) -> Other ! {tell, [User, " departed.\n"]} end, Rest),
            room(Rest)
    end.

start(Socket, Room, User) ->
    ok = gen_tcp:send(Socket, ["You are ", User, ".\n"]),
    Room ! {join, self(), User},
    more(Socket, Room, User).

more(Socket, Room, User) ->
    case inet:setopts(Socket, [{active, 100}]) of
        ok -> session(Socket, Room, User);
        {error, _} -> ok
    end.

session(Socket, Room, User) ->
    receive
        {tcp, Socket, Line} ->
            Room ! {say, iolist_to_binary([User, ": ", string:trim(Line, trailing, "\r\n"), "\n"])},
            session(Socket, Room, User);
        {tell, Text} ->
            case gen_tcp:send(Socket, Text) of
                ok -> session(Socket, Room, User);
                {error, _} -> ok
            end;
        {tcp_passive, Socket} ->
            more(Socket, Room, User);
        {tcp_closed, Socket} ->
            ok;
        {tcp_error, Socket, _} ->
            ok
    end.
