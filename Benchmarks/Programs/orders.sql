-- SPDX-License-Identifier: BSD-2-Clause
--
-- An in-memory database of orders: bulk inserts, indices, joins, grouping, updates. @ROWS@ is filled in by the suite.

create table customer(id integer primary key, name text, town text);
create table item(id integer primary key, customer integer, price real, note text);

with recursive n(i) as (select 1 union all select i + 1 from n where i < @ROWS@ / 20)
insert into customer select i, 'customer ' || (i * 7919 % 100003), 'town ' || (i % 97) from n;

with recursive n(i) as (select 1 union all select i + 1 from n where i < @ROWS@)
insert into item select i, 1 + (i * 31 % (@ROWS@ / 20)), (i * 17 % 9973) / 100.0,
  'a note of some length about item ' || i || ' ' || hex(i * 2654435761) from n;

create index item_customer on item(customer);
create index customer_town on customer(town, name);

select town, count(*), round(sum(price), 2), max(length(note))
  from customer join item on item.customer = customer.id group by town order by 3 desc limit 5;
update item set note = note || ' (seen)', price = price * 1.01 where id % 3 = 0;
delete from item where id % 7 = 0;
select count(distinct substr(note, -9)), round(avg(price), 3) from item;
select count(*) from (select name, group_concat(substr(note, 1, 20)) as notes
  from customer join item on item.customer = customer.id group by name order by notes);
