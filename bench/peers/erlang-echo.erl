%% Erlang's gen_tcp: a process per connection, which gets up to 100 chunks before it must ask again
%% ({active, 100}: flow control without a call per chunk).
%%
%% usage: escript erlang-echo.erl [--host ADDRESS] [--port PORT]; prints `listening on HOST:PORT`.
-mode(compile).
-export([main/1]).

main(Arguments) ->
    #{"--host" := Host, "--port" := Port} = options(Arguments, #{"--host" => "127.0.0.1", "--port" => "0"}),
    {ok, Address} = inet:parse_address(Host),
    {ok, Listener} = gen_tcp:listen(list_to_integer(Port), [
        binary, {ip, Address}, {active, false}, {nodelay, true}, {backlog, 4096}, {reuseaddr, true},
        {buffer, 65536}
    ]),
    {ok, Bound} = inet:port(Listener),
    io:format("version: Erlang/OTP ~s~n", [erlang:system_info(otp_release)]),
    io:format("listening on ~s:~b~n", [Host, Bound]),
    accept(Listener).

options([Name, Value | Rest], Options) when is_map_key(Name, Options) ->
    options(Rest, Options#{Name := Value});
options([], Options) ->
    Options.

accept(Listener) ->
    {ok, Socket} = gen_tcp:accept(Listener),
    Pid = spawn(fun() -> receive go -> session(Socket) end end),
    ok = gen_tcp:controlling_process(Socket, Pid),
    Pid ! go,
    accept(Listener).

session(Socket) ->
    case inet:setopts(Socket, [{active, 100}]) of
        ok -> echo(Socket);
        {error, _} -> gen_tcp:close(Socket)
    end.

echo(Socket) ->
    receive
        {tcp, Socket, Data} ->
            case gen_tcp:send(Socket, Data) of
                ok -> echo(Socket);
                {error, _} -> gen_tcp:close(Socket)
            end;
        {tcp_passive, Socket} ->
            session(Socket);
        {tcp_closed, Socket} ->
            ok;
        {tcp_error, Socket, _} ->
            ok
    end.
